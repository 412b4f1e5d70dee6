"""What a synchronous caller is told of the jobs it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastapi import Response
from starlette.types import Receive

from api.dialects.base import Answering, Ranked
from api.joining import CallerGone
from api.pools import Pool
from api.problems import ENDING_RETRY_S, STOPPING, Refusal
from api.ranking import Forgotten, ranking
from api.submission import Submitted
from rerankq.ledger.records import JobRecord
from rerankq.schema import Problem
from rerankq.status import JobStatus

CLIENT_CLOSED = 499  # nobody reads it but the access log, where it is what others write, too
INLINE_RESULTS = 5_000  # writing more of them would be felt by other requests
PURGED_RETRY_S = 5  # what was withdrawn shall not be back at once

# A failed job's own code decides what the synchronous caller is told.
_CALLERS_FAULT = frozenset({"query_too_long", "instruction_too_long", "instruction_not_supported"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """A request whose jobs are durable. Nothing of their texts is held unless it goes back.

    Attributes:
        seconds: to be waited for at most.
        answering: makes the answer from their rankings.
        uncut: the request's field, if any, by which no document may be cut.
        max_tokens_per_doc: of the request; None: as many as fit the model.
        names: a job's fields as the request calls them.
    """

    pool: Pool
    submitted: Sequence[Submitted]
    seconds: float
    answering: Answering
    uncut: str | None
    max_tokens_per_doc: int | None
    names: Mapping[str, str]

    async def response(self, receive: Receive) -> Response:
        """
        Raises: Refusal: 422 or 500 if a job failed, 503 if one has come to nothing otherwise.
        """
        try:
            done = await self.pool.joined.until_final(self.submitted, self.seconds, receive)
        except CallerGone:
            return Response(status_code=CLIENT_CLOSED)
        succeeded = [job for job in done if job and job.status is JobStatus.SUCCEEDED]
        if len(succeeded) < len(done):
            raise await self._failed(done)
        self._check_uncut(succeeded)
        ranked = [await ranked_of(self.pool, job) for job in succeeded]
        count = sum(len(each.results) for each in ranked)
        small = count <= INLINE_RESULTS
        body = self._said(ranked) if small else await asyncio.to_thread(self._said, ranked)
        return Response(body, media_type="application/json")

    def _said(self, ranked: list[Ranked]) -> str:
        return self.answering(ranked).model_dump_json()

    async def _failed(self, jobs: Sequence[JobRecord | None]) -> Refusal:
        # Nobody will come back for what is left, so it must not take a worker's time.
        await self.pool.joined.give_up(self.submitted)
        for job in jobs:
            if job is not None and job.status is JobStatus.FAILED and job.error is not None:
                return _as_it_failed(job.error).with_names(self.names)
        if any(job and job.status is JobStatus.CANCELLED for job in jobs):
            detail = "cancelled by its caller or by an operator before it was scored"
            return Refusal(503, "cancelled", detail, retry_after=PURGED_RETRY_S)
        if None in jobs:
            return _forgotten()
        return await self._timed_out()

    async def _timed_out(self) -> Refusal:
        if self.pool.waiter.ending:
            return Refusal(503, STOPPING.code, STOPPING.detail, retry_after=ENDING_RETRY_S)
        workers = len(await self.pool.fleet.ready())
        detail = (
            f"no ranking within {self.seconds:g} s ({workers} workers ready); "
            "use POST /v1/jobs to wait"
        )
        return Refusal(503, "timed_out", detail, limit=self.seconds, retry_after=1)

    def _check_uncut(self, jobs: Sequence[JobRecord]) -> None:
        """Raises: Refusal: 422, a document was cut and the request forbids it."""
        cut, most = sum(job.truncated for job in jobs), self.max_tokens_per_doc
        if self.uncut is None or not cut:
            return
        into = "the model" if most is None else f"max_tokens_per_doc: {most}, or the model,"
        detail = f"{self.uncut}: {cut} of the documents do not fit {into} unless they are cut"
        raise Refusal(422, "document_too_long", detail, field=self.uncut, limit=most)


async def ranked_of(pool: Pool, job: JobRecord) -> Ranked:
    """Raises: Refusal: 503, its time ended before it was read."""
    try:
        results = await ranking(pool.ledger, job)
    except Forgotten:
        raise _forgotten() from None
    return Ranked(
        id=job.id,
        model=job.model,
        created=job.created // 1000,
        tokens=job.tokens,
        truncated=job.truncated,
        results=results,
    )


def _as_it_failed(error: Problem) -> Refusal:
    status = 422 if error.code in _CALLERS_FAULT else 500
    return Refusal(status, error.code, error.detail, field=error.field, limit=error.limit)


def _forgotten() -> Refusal:
    detail = "the ranking was kept for too short a time to be read; try again"
    return Refusal(503, "forgotten", detail, retry_after=1)
