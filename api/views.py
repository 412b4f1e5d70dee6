"""A ledger record as the public sees it."""

from __future__ import annotations

from datetime import UTC, datetime

from rerankq.ledger.records import JobRecord
from rerankq.schema import Job, ModelRef, Progress, Result, Timing, Usage


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _maybe_time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else _time(milliseconds)


def _seconds(start: int | None, stop: int | None) -> float | None:
    return None if start is None or stop is None else (stop - start) / 1000


def view(job: JobRecord, results: list[Result] | None = None) -> Job:
    """The job without its results unless they are given."""
    return Job(
        id=job.id,
        status=job.status,
        model=ModelRef(id=job.model, revision=job.revision),
        lane=job.lane,
        created_at=_time(job.created),
        started_at=_maybe_time(job.started),
        finished_at=_maybe_time(job.finished),
        expires_at=_time(job.deadline),
        retained_until=_maybe_time(job.retained),
        progress=Progress(scored=job.scored, total=job.total),
        results=results,
        error=job.error,
        usage=Usage(total_tokens=job.tokens, truncated=job.truncated),
        timing=Timing(
            queued_s=_seconds(job.created, job.started),
            scoring_s=_seconds(job.started, job.finished),
        ),
        metadata=job.metadata,
    )
