"""The blocking client: submit, wait, read, cancel. `async_client` is the same for an event loop."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

import httpx

from rerankq.bulk.client import BulkCalls
from rerankq.errors import ConnectionFailed, JobFailed, JobNotFinished
from rerankq.requests import LONG_POLL_S, Requests
from rerankq.schema import Document, Job, JobList, Result
from rerankq.status import JobStatus
from rerankq.transport import RETRY_FOR_S, Outcome, Send, attempts, check, parsed
from rerankq.views import ModelList, QueueView, ServedModel


def ranking_of(job: Job) -> list[Result]:
    """Raises: JobFailed: the job ended without a ranking."""
    if job.status is not JobStatus.SUCCEEDED:
        raise JobFailed(job)
    return job.results or []


class Client(BulkCalls):
    """A blocking client. Thread-safe; close it, or use it as a context manager.

    Args:
        url: of the service; default `RERANKQ_URL`, then http://127.0.0.1:8000.
        api_key: default `RERANKQ_API_KEY`.
        retry_for: seconds in which 429, 503 and connection failures are met with another try,
            after the time the service names in `Retry-After` or with exponential back-off.

    Every method raises `APIError` (one of its classes) when the service refuses and
    `ConnectionFailed` when it cannot be reached.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        retry_for: float = RETRY_FOR_S,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = Requests(url, api_key, retry_for)
        self._http = httpx.Client(transport=transport)

    def submit(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> Job:
        """Hand a job over; once this returns it is durable.

        Args:
            idempotency_key: the same key and body give the same job; default: a fresh one.
            options: further fields of `JobRequest` (instruction, top_n, lane, ...).
        """
        request = self._calls.submit(query, documents, idempotency_key, options)
        return parsed(Job, self._send(request))

    def get(self, job_id: str, *, wait: float = 0, partial: bool = False) -> Job:
        """The job now, or after `wait` seconds (at most 60), or once it is final."""
        return parsed(Job, self._send(self._calls.get(job_id, wait, partial)))

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """The final job.

        Raises:
            JobNotFinished: `timeout` seconds passed first.
        """
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            left = deadline - time.monotonic()
            job = self.get(job_id, wait=max(0.0, min(LONG_POLL_S, left)))
            if job.status.final:
                return job
            if time.monotonic() >= deadline:
                raise JobNotFinished(job)

    def rerank(
        self,
        query: str,
        documents: Sequence[str | Document],
        *,
        timeout: float | None = None,
        **options: Any,
    ) -> list[Result]:
        """Submit, wait, and return the ranking, best first.

        Raises:
            JobFailed: the job ended without a ranking.
            JobNotFinished: `timeout` seconds passed first; the job goes on.
        """
        return ranking_of(self.wait(self.submit(query, documents, **options).id, timeout))

    def cancel(self, job_id: str) -> Job:
        """Withdraw a job; one that is final stays as it is."""
        return parsed(Job, self._send(self._calls.cancel(job_id)))

    def retry(self, job_id: str) -> Job:
        """Try what was not scored of a failed job once more; returns the new job.

        Raises: APIError, with `not_failed` (409) or `not_kept` (409): by its caller's fault.
        """
        return parsed(Job, self._send(self._calls.retry(job_id)))

    def results(self, job_id: str) -> Iterator[Result]:
        """The ranking of a finished job, streamed, best first."""
        request = self._calls.results(job_id)
        response = self._send(request, stream=True)
        try:
            for line in response.iter_lines():
                yield Result.model_validate_json(line)
        except httpx.TransportError as error:
            raise ConnectionFailed(f"the results broke off: {error}") from None
        finally:
            response.close()

    def jobs(self, status: JobStatus | None = None) -> Iterator[Job]:
        """All jobs that are still kept, newest first."""
        cursor: str | None = None
        while True:
            response = self._send(self._calls.jobs(status, cursor))
            page = parsed(JobList, response)
            yield from page.data
            cursor = page.next_cursor
            if cursor is None:
                return

    def queue(self, model: str | None = None) -> QueueView:
        """How much waits, how much is in flight, how many workers there are; of all models or one.

        Raises: NotFound: no such model is served.
        """
        return parsed(QueueView, self._send(self._calls.queue(model)))

    def models(self) -> list[ServedModel]:
        """What is served, the default model first."""
        return parsed(ModelList, self._send(self._calls.models())).data

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        flow = attempts(self._calls.retry_for)
        step = next(flow)
        outcome: Outcome
        while True:
            outcome = None
            if isinstance(step, Send):
                try:
                    outcome = self._http.send(request, stream=stream)
                    if not outcome.is_success:
                        outcome.read()
                except httpx.TransportError as error:
                    outcome = error
            else:
                time.sleep(step.seconds)
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                return check(end.value)
