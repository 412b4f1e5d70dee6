"""The records of the ledger as values: a job's header, a worker's word about itself."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from rerankq.ledger.calls import Arg
from rerankq.ledger.codec import VERSION, JobContext
from rerankq.ledger.keys import TAG_DIGITS
from rerankq.ledger.sharding import Cut
from rerankq.ledger.stored import Stored
from rerankq.schema import JobRequest, Problem
from rerankq.status import JobStatus, Lane


def new_job_id(tag: str = "") -> str:
    """Sorts by time, so that equal fair scores are served in order of arrival; unguessable.

    Args:
        tag: of the model, see `keys.tag_of`.
    """
    return f"job_{int(time.time() * 1000):012x}{secrets.token_hex(10)}{tag}"


def tag_in(job_id: str) -> str | None:
    """Of the model whose ledger has the job; None: that is no job's id."""
    found = re.fullmatch(rf"job_[0-9a-f]{{32}}((?:[0-9a-f]{{{TAG_DIGITS}}})?)", job_id)
    return found and found[1]


def header(
    request: JobRequest,
    cut: Cut,
    *,
    model: str,
    owner: str,
    request_id: str,
    result_ttl_ms: int,
    traceparent: str = "",
) -> dict[str, Arg]:
    """What `commit` writes of a new job; the script adds status, counters and times."""
    return {
        "version": VERSION,
        "lane": request.lane,
        "entries": len(cut.bounds),
        "total": len(request.documents),
        "entry_tokens": cut.entry_tokens,
        "stride": cut.stride_ms,
        "model": model,
        "owner": owner,
        "context": JobContext(
            request.query, request.instruction, request_id, request.max_tokens_per_doc
        ).encode(),
        "result_ttl": result_ttl_ms,
        "top_n": request.top_n or 0,
        "raw_scores": int(request.raw_scores),
        "metadata": json.dumps(request.metadata) if request.metadata is not None else "",
        **({"webhook": request.webhook_url} if request.webhook_url else {}),
        **({"traceparent": traceparent} if traceparent else {}),
    }


# What `JobRecord` reads: all but the context, which can be large and is the workers' alone.
HEADER_FIELDS = (
    *("version", "status", "lane", "entries", "total", "scored", "tokens", "truncated"),
    *("model", "revision", "owner", "created", "started", "finished", "deadline", "retained"),
    *("top_n", "raw_scores", "metadata", "error"),
)


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job's header as the ledger has it. Times are Redis milliseconds."""

    id: str
    status: JobStatus
    lane: Lane
    entries: int
    total: int
    scored: int
    tokens: int
    truncated: int
    model: str
    revision: str | None
    owner: str
    created: int
    started: int | None
    finished: int | None
    deadline: int
    retained: int | None
    top_n: int | None
    raw_scores: bool
    metadata: dict[str, Any] | None
    error: Problem | None

    @property
    def final_at(self) -> datetime:
        """When it became final; when it was made, if it has not."""
        return datetime.fromtimestamp((self.finished or self.created) / 1000, UTC)

    @classmethod
    def decode(cls, job_id: str, values: Sequence[bytes | None]) -> JobRecord | None:
        """From the values of `HEADER_FIELDS`; None if there is no such job.

        Raises: LaterVersion.
        """
        stored = Stored.read("job", dict(zip(HEADER_FIELDS, values, strict=True)))
        if stored is None:
            return None
        number = stored.number
        return cls(
            id=job_id,
            status=JobStatus(stored["status"]),
            lane=Lane(stored["lane"]),
            entries=int(stored["entries"]),
            total=int(stored["total"]),
            scored=int(stored["scored"]),
            tokens=number("tokens") or 0,
            truncated=number("truncated") or 0,
            model=stored["model"],
            revision=stored.get("revision"),
            owner=stored["owner"],
            created=int(stored["created"]),
            started=number("started"),
            finished=number("finished"),
            deadline=int(stored["deadline"]),
            retained=number("retained"),
            top_n=number("top_n") or None,
            raw_scores=stored["raw_scores"] == "1",
            metadata=stored.metadata,
            error=stored.error,
        )


class WorkerInfo(BaseModel):
    """What a worker says of itself with every heartbeat.

    Attributes:
        attention: `packed` or `padded`, the layout of its batches.
        engine: in words, which forward pass it chose and why.
        tokens_per_s: measured while busy; 0 until then.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    state: Literal["ready", "draining"]
    model: str
    revision: str
    template: str
    score_space: str
    instruction: bool
    max_length: int
    dtype: str
    device: str
    attention: str
    engine: str = ""
    host: str = ""
    pid: int = 0
    tokens_per_s: float = 0.0

    @property
    def fingerprint(self) -> str:
        """By what it scores; a job is scored by one of these."""
        return f"{self.model}@{self.revision}/{self.dtype}"

    def encode(self) -> dict[str, str]:
        return {key: str(value) for key, value in self.model_dump().items()}

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> WorkerInfo:
        return cls.model_validate({key.decode(): value.decode() for key, value in fields.items()})
