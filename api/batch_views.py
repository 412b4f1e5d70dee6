"""A batch's record as the public sees it."""

from __future__ import annotations

from rerankq.bulk.api import BatchError, BatchErrors, BatchObject, BatchProgress, RequestCounts
from rerankq.ledger.batch_record import BatchRecord
from rerankq.status import Phase

STOPPED: tuple[Phase, ...] = ("cancelling", "cancelled")


def batch_view(batch: BatchRecord, output: str | None, errors: str | None) -> BatchObject:
    """Args: output, errors: ids of the files it wrote."""
    about, stopped = batch.about, batch.phase in STOPPED
    return BatchObject(
        id=batch.id,
        endpoint=about.get("endpoint", ""),
        model=batch.model,
        errors=_errors(batch),
        input_file_id=about.get("input_file_id"),
        completion_window=about.get("completion_window", ""),
        status=batch.phase,
        output_file_id=output,
        error_file_id=errors,
        created_at=batch.created // 1000,
        in_progress_at=_seconds(batch.planned),
        expires_at=batch.deadline // 1000,
        finalizing_at=None if stopped else _seconds(batch.merging),
        completed_at=_ended(batch, "completed"),
        failed_at=_ended(batch, "failed"),
        expired_at=_ended(batch, "expired"),
        # One that was not planned yet is over at once.
        cancelling_at=_seconds(batch.merging or batch.finished) if stopped else None,
        cancelled_at=_ended(batch, "cancelled"),
        request_counts=RequestCounts(
            total=batch.records, completed=batch.records - batch.bad, failed=batch.bad
        ),
        metadata=batch.metadata,
        input_uri=about.get("input_uri"),
        output_uri=about.get("output_uri"),
        error_uri=batch.spec.errors if batch.errors and "output_uri" in about else None,
        progress=BatchProgress(
            chunks=batch.chunks,
            chunks_done=batch.done,
            pairs=batch.pairs,
            tokens=batch.tokens,
            truncated=batch.truncated,
        ),
        error=batch.error,
    )


def _errors(batch: BatchRecord) -> BatchErrors | None:
    error = batch.error
    if error is None:
        return None
    told = BatchError(code=error.code, message=error.detail, param=error.field)
    return BatchErrors(data=[told])


def _ended(batch: BatchRecord, phase: Phase) -> int | None:
    return _seconds(batch.finished) if batch.phase == phase else None


def _seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // 1000
