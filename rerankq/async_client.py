"""The asynchronous client: see `rerankq.client`, which says what each method does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Self

import httpx

from rerankq.bulk.client import AsyncBulkCalls
from rerankq.client import ranking_of
from rerankq.errors import ConnectionFailed, JobNotFinished
from rerankq.requests import LONG_POLL_S, Requests
from rerankq.schema import Document, Job, JobList, Result
from rerankq.status import JobStatus
from rerankq.transport import RETRY_FOR_S, Outcome, Send, attempts, check, parsed
from rerankq.views import ModelList, QueueView, ServedModel


class AsyncClient(AsyncBulkCalls):
    """`Client` for an event loop: the same arguments, methods and errors, awaited."""

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        retry_for: float = RETRY_FOR_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = Requests(url, api_key, retry_for)
        self._http = httpx.AsyncClient(transport=transport)

    async def submit(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Job:
        """See `Client.submit`."""
        request = self._calls.submit(query, documents, idempotency_key, options)
        return parsed(Job, await self._send(request))

    async def get(self, job_id: str, *, wait: float = 0, partial: bool = False) -> Job:
        """See `Client.get`."""
        response = await self._send(self._calls.get(job_id, wait, partial))
        return parsed(Job, response)

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:  # noqa: ASYNC109
        """See `Client.wait`."""
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            left = deadline - time.monotonic()
            job = await self.get(job_id, wait=max(0.0, min(LONG_POLL_S, left)))
            if job.status.final:
                return job
            if time.monotonic() >= deadline:
                raise JobNotFinished(job)

    async def rerank(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        timeout: float | None = None,  # noqa: ASYNC109
        **options: Any,
    ) -> list[Result]:
        """See `Client.rerank`."""
        job = await self.submit(query, documents, **options)
        return ranking_of(await self.wait(job.id, timeout))

    async def cancel(self, job_id: str) -> Job:
        """See `Client.cancel`."""
        response = await self._send(self._calls.cancel(job_id))
        return parsed(Job, response)

    async def retry(self, job_id: str) -> Job:
        """See `Client.retry`."""
        return parsed(Job, await self._send(self._calls.retry(job_id)))

    async def results(self, job_id: str) -> AsyncIterator[Result]:
        """See `Client.results`."""
        response = await self._send(self._calls.results(job_id), stream=True)
        try:
            async for line in response.aiter_lines():
                yield Result.model_validate_json(line)
        except httpx.TransportError as error:
            raise ConnectionFailed(f"the results broke off: {error}") from None
        finally:
            await response.aclose()

    async def jobs(self, status: JobStatus | None = None) -> AsyncIterator[Job]:
        """See `Client.jobs`."""
        cursor: str | None = None
        while True:
            response = await self._send(self._calls.jobs(status, cursor))
            page = parsed(JobList, response)
            for job in page.data:
                yield job
            cursor = page.next_cursor
            if cursor is None:
                return

    async def queue(self, model: str | None = None) -> QueueView:
        """See `Client.queue`."""
        return parsed(QueueView, await self._send(self._calls.queue(model)))

    async def models(self) -> list[ServedModel]:
        """See `Client.models`."""
        return parsed(ModelList, await self._send(self._calls.models())).data

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        flow = attempts(self._calls.retry_for)
        step = next(flow)
        outcome: Outcome
        while True:
            outcome = None
            if isinstance(step, Send):
                try:
                    outcome = await self._http.send(request, stream=stream)
                    if not outcome.is_success:
                        await outcome.aread()
                except httpx.TransportError as error:
                    outcome = error
            else:
                await asyncio.sleep(step.seconds)
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                return check(end.value)
