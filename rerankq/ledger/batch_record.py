"""A batch as the ledger has it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerankq.bulk.spec import BatchSpec
from rerankq.ledger.stored import Stored
from rerankq.schema import Problem
from rerankq.status import JobStatus, Phase

BATCH_FIELDS = (
    *("version", "status", "context", "model", "revision", "owner", "metadata", "about"),
    *("created", "started", "planned", "merging", "finished", "deadline", "retained", "ending"),
    *("chunks", "left", "scored", "tokens", "truncated", "records", "bad", "error"),
    *("output_written", "errors_written"),
)


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What is known of a batch. Times are Redis milliseconds.

    Attributes:
        chunks, done: how many there are, and have their part; 0 until it is planned.
        pairs, tokens, truncated: scored so far.
        records, bad: lines read so far, and of them those that could not be scored.
        stopped: it ends otherwise than completed, at the latest when it is merged.
        output, errors: whether these files are written.
        about: see `header`.
    """

    id: str
    phase: Phase
    spec: BatchSpec
    model: str
    revision: str | None
    owner: str
    metadata: dict[str, Any] | None
    about: dict[str, str]
    created: int
    planned: int | None
    merging: int | None
    finished: int | None
    deadline: int
    retained: int | None
    chunks: int
    done: int
    pairs: int
    tokens: int
    truncated: int
    records: int
    bad: int
    stopped: bool
    output: bool
    errors: bool
    error: Problem | None

    @property
    def final(self) -> bool:
        return self.finished is not None

    @classmethod
    def decode(cls, batch_id: str, values: Sequence[bytes | None]) -> BatchRecord | None:
        """From the values of `BATCH_FIELDS`; None if there is no such batch.

        Raises: LaterVersion.
        """
        stored = Stored.read("batch", dict(zip(BATCH_FIELDS, values, strict=True)))
        if stored is None:
            return None
        number = stored.number
        chunks, left = number("chunks") or 0, number("left") or 0
        stopped = "ending" in stored
        return cls(
            id=batch_id,
            phase=_phase(stored),
            spec=BatchSpec.model_validate_json(stored["context"]),
            model=stored["model"],
            revision=stored.get("revision"),
            owner=stored["owner"],
            metadata=stored.metadata,
            about=json.loads(stored["about"]),
            created=int(stored["created"]),
            planned=number("planned"),
            merging=number("merging"),
            finished=number("finished"),
            deadline=int(stored["deadline"]),
            retained=number("retained"),
            chunks=chunks,
            done=0 if stopped else max(0, chunks - max(0, left - 1)),
            pairs=number("scored") or 0,
            tokens=number("tokens") or 0,
            truncated=number("truncated") or 0,
            records=number("records") or 0,
            bad=number("bad") or 0,
            stopped=stopped,
            output=stored.get("output_written") == "1",
            errors=stored.get("errors_written") == "1",
            error=stored.error,
        )


_FINAL: dict[str, Phase] = {
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
    JobStatus.EXPIRED: "expired",
}


def _phase(stored: Mapping[str, str]) -> Phase:
    if stored["status"] in _FINAL:
        return _FINAL[stored["status"]]
    if stored.get("ending") == JobStatus.CANCELLED:
        return "cancelling"
    if "merging" in stored:
        return "finalizing"
    return "in_progress" if "planned" in stored else "validating"
