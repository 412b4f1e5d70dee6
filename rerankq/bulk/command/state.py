"""What is known of a batch, whether the API or Redis was asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rerankq.bulk.api import BatchObject
from rerankq.ledger.batch_record import BatchRecord
from rerankq.schema import Problem
from rerankq.status import Phase

FINAL: frozenset[Phase] = frozenset({"completed", "failed", "cancelled", "expired"})


@dataclass(frozen=True, slots=True)
class BatchState:
    """
    Attributes:
        records, bad: lines read so far, and of them those that could not be scored.
        pairs, tokens, truncated: scored so far.
        chunks, done: 0 until the input is cut.
        output, errors: path, URL or file id; None: not written.
        created, finished: Unix seconds.
        marks: what the command left in it to find it again.
    """

    id: str
    phase: Phase
    model: str
    records: int
    bad: int
    pairs: int
    tokens: int
    truncated: int
    chunks: int
    done: int
    output: str | None
    errors: str | None
    created: float
    finished: float | None
    marks: Mapping[str, Any]
    error: Problem | None

    @property
    def final(self) -> bool:
        return self.phase in FINAL

    def as_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        took = self.finished - self.created if self.finished is not None else None
        return {
            "id": self.id,
            "object": "rerank.batch",
            "status": self.phase,
            "model": self.model,
            "records": self.records,
            "bad": self.bad,
            "pairs": self.pairs,
            "tokens": self.tokens,
            "truncated": self.truncated,
            "chunks": self.chunks,
            "chunks_done": self.done,
            "output": self.output,
            "errors": self.errors,
            "seconds": None if took is None else round(took, 3),
            "pairs_per_s": round(self.pairs / took, 3) if took else None,
            "error": self.error.model_dump() if self.error else None,
        }


def of_object(batch: BatchObject) -> BatchState:
    problem = batch.error
    if problem is None and batch.errors and batch.errors.data:
        first = batch.errors.data[0]
        problem = Problem(title=first.code, status=422, code=first.code, detail=first.message)
    ends = (batch.completed_at, batch.failed_at, batch.expired_at, batch.cancelled_at)
    return BatchState(
        id=batch.id,
        phase=batch.status,
        model=batch.model,
        records=batch.request_counts.total,
        bad=batch.request_counts.failed,
        pairs=batch.progress.pairs,
        tokens=batch.progress.tokens,
        truncated=batch.progress.truncated,
        chunks=batch.progress.chunks,
        done=batch.progress.chunks_done,
        output=batch.output_file_id or (batch.output_uri if batch.completed_at else None),
        errors=batch.error_file_id or batch.error_uri,
        created=batch.created_at,
        finished=next((end for end in ends if end is not None), None),
        marks=batch.metadata or {},
        error=problem,
    )


def of_record(batch: BatchRecord) -> BatchState:
    return BatchState(
        id=batch.id,
        phase=batch.phase,
        model=batch.model,
        records=batch.records,
        bad=batch.bad,
        pairs=batch.pairs,
        tokens=batch.tokens,
        truncated=batch.truncated,
        chunks=batch.chunks,
        done=batch.done,
        output=batch.spec.output if batch.output else None,
        errors=batch.spec.errors if batch.errors else None,
        created=batch.created / 1000,
        finished=None if batch.finished is None else batch.finished / 1000,
        marks=batch.metadata or {},
        error=batch.error,
    )
