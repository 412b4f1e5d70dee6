"""A batch as the ledger has it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerankq.bulk.spec import BatchSpec
from rerankq.errors import LaterVersion
from rerankq.ledger.codec import VERSION
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
        text = {
            field: value.decode()
            for field, value in zip(BATCH_FIELDS, values, strict=True)
            if value is not None
        }
        if not text:
            return None
        if int(text["version"]) > VERSION:
            raise LaterVersion(f"batch of version {text['version']}; this one reads {VERSION}", b"")

        def number(key: str) -> int | None:
            return int(text[key]) if text.get(key) else None

        chunks, left = number("chunks") or 0, number("left") or 0
        stopped = "ending" in text
        return cls(
            id=batch_id,
            phase=_phase(text),
            spec=BatchSpec.model_validate_json(text["context"]),
            model=text["model"],
            revision=text.get("revision"),
            owner=text["owner"],
            metadata=json.loads(text["metadata"]) if text["metadata"] else None,
            about=json.loads(text["about"]),
            created=int(text["created"]),
            planned=number("planned"),
            merging=number("merging"),
            finished=number("finished"),
            deadline=int(text["deadline"]),
            retained=number("retained"),
            chunks=chunks,
            done=0 if stopped else max(0, chunks - max(0, left - 1)),
            pairs=number("scored") or 0,
            tokens=number("tokens") or 0,
            truncated=number("truncated") or 0,
            records=number("records") or 0,
            bad=number("bad") or 0,
            stopped=stopped,
            output=text.get("output_written") == "1",
            errors=text.get("errors_written") == "1",
            error=Problem.model_validate_json(text["error"]) if "error" in text else None,
        )


_FINAL: dict[str, Phase] = {
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
    JobStatus.EXPIRED: "expired",
}


def _phase(text: Mapping[str, str]) -> Phase:
    if text["status"] in _FINAL:
        return _FINAL[text["status"]]
    if text.get("ending") == JobStatus.CANCELLED:
        return "cancelling"
    if "merging" in text:
        return "finalizing"
    return "in_progress" if "planned" in text else "validating"
