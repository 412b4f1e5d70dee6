"""Batches in the ledger: each change as a value, and what is known of one.

A batch is a job whose entries are chunks of a file. Entry 0 plans it; entries 1 to n are its
chunks, a bounded number of which is open at a time; entry n + 1 merges their parts.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rerankq.bulk.chunks import Chunk
from rerankq.bulk.spec import BatchSpec
from rerankq.ledger.calls import Arg, Call, Committed, Completed
from rerankq.ledger.codec import VERSION
from rerankq.ledger.keys import TAG_DIGITS
from rerankq.schema import Problem
from rerankq.status import CHUNKS, JobStatus

MOST_BATCHES = 100  # at once; what waits in them is no load, but each is somebody's mistake to make
PLANNED_AT_ONCE = 1_000  # chunks in one call


def new_batch_id(tag: str = "") -> str:
    """Args: tag: of the model, see `keys.tag_of`."""
    return f"batch_{int(time.time() * 1000):012x}{secrets.token_hex(10)}{tag}"


def tag_in_batch(batch_id: str) -> str | None:
    """Of the model whose ledger has the batch; None: that is no batch's id."""
    found = re.fullmatch(rf"batch_[0-9a-f]{{32}}((?:[0-9a-f]{{{TAG_DIGITS}}})?)", batch_id)
    return found and found[1]


def listed_as(owner: str) -> str:
    """Whose list a batch of this owner is in: not that of its jobs."""
    return f"batches {owner}"


def header(
    spec: BatchSpec,
    *,
    model: str,
    owner: str,
    result_ttl_ms: int,
    metadata: Mapping[str, Any] | None = None,
    about: Mapping[str, str] | None = None,
) -> dict[str, Arg]:
    """What `enlist` writes of a new batch.

    Args:
        about: what its maker wants to find again, as it is (file ids, the endpoint, ...).
    """
    return {
        "version": VERSION,
        "lane": CHUNKS,
        "model": model,
        "owner": owner,
        "context": spec.model_dump_json(exclude_defaults=True),
        "result_ttl": result_ttl_ms,
        "entry_tokens": 1,  # until it is planned
        "stride": 1,
        "metadata": json.dumps(metadata) if metadata is not None else "",
        "about": json.dumps(about or {}),
    }


def enlist(
    batch_id: str,
    fields: Mapping[str, Arg],
    *,
    output: str,
    owner: str,
    expires_in_ms: int,
    idempotency: tuple[str, str] | None = None,
) -> Call[Committed]:
    """
    Args:
        output: its URL; while one batch writes it, no other is accepted that would.
        idempotency: hash of the key, hash of the body.
    """
    key, body = idempotency or ("", "")
    place = hashlib.sha256(output.rstrip("/").encode()).hexdigest()[:32]
    pairs = [part for item in fields.items() for part in item]
    return Call(
        "enlist",
        (batch_id, MOST_BATCHES, key, body, listed_as(owner), expires_in_ms, place, *pairs),
        lambda answer: Committed(answer[0].decode(), answer[1].decode()),
    )


@dataclass(frozen=True, slots=True)
class Planned:
    """Chunks the plan has (None: it is no longer to be planned), and bytes they are cut to."""

    chunks: int | None
    cut: int


def planned(
    entry: str,
    cut: int,
    before: int = 0,
    chunks: Sequence[Chunk] = (),
    *,
    last: bool = False,
    chunk_tokens: int = 1,
    stride_ms: int = 1,
) -> Call[Planned]:
    """Put chunks down. The first call has none, and its answer says how they are to be cut.

    Args:
        cut: bytes of a chunk, at most.
        before: chunks that were put down before these.
        chunk_tokens, stride_ms: of the average chunk, estimated; of the last call they count.
    """
    about = (entry, cut, before, int(last), chunk_tokens, stride_ms)
    return Call(
        "planned",
        (*about, *(chunk.encode() for chunk in chunks)),
        lambda answer: Planned(None if answer[0] < 0 else answer[0], answer[1]),
    )


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """What became of a chunk.

    Attributes:
        name: of the part in the batch's work folder, without what follows it; where there is no
            pair, there is no part.
        lines: of the chunk, so that a bad one's number in the whole input can be told.
        bad: lines that could not be scored; they lie beside the part.
    """

    name: str
    lines: int
    pairs: int
    tokens: int
    truncated: int
    records: int
    bad: int

    def encode(self) -> str:
        return json.dumps([getattr(self, field) for field in self.__slots__])

    @classmethod
    def decode(cls, data: bytes | str) -> ScoredPart:
        return cls(*json.loads(data))


# Codes of lines that are bad by our fault, and that another try may score.
LOST = ("scoring_failed", "out_of_memory", "worker_lost")

TOO_MANY_ERRORS = Problem(
    title="Unprocessable Entity",
    status=422,
    code="too_many_errors",
    detail="more lines than `max_errors` allows could not be scored; the errors file has them",
    field="max_errors",
)


def part(
    entry: str,
    done: ScoredPart,
    *,
    max_errors: int | None,
    model: str,
    revision: str,
    lost: Mapping[str, int] | None = None,
) -> Call[Completed]:
    """The answer: `gone` if another's part counts.

    Args:
        lost: how many lines are bad by our fault, by their code.
    """
    problem = TOO_MANY_ERRORS.model_copy(update={"limit": max_errors})
    return Call(
        "part",
        (
            *(entry, done.encode(), done.pairs, done.tokens, done.truncated),
            *(done.records, done.bad, "" if max_errors is None else max_errors),
            *(problem.model_dump_json(exclude_none=True), model, revision),
            *(field for item in (lost or {}).items() for field in item),
        ),
        lambda answer: answer.decode(),
    )


def merged(entry: str, *, output: bool = True, errors: bool) -> Call[Completed]:
    """Args: output, errors: whether these files are written."""
    return Call("merged", (entry, int(output), int(errors)), lambda answer: answer.decode())


def stop(
    batch_id: str, status: JobStatus, problem: Problem | None = None, *, at_once: bool = False
) -> Call[bool]:
    """Cancel or fail a batch; what was scored is merged first, unless `at_once`."""
    text = problem.model_dump_json(exclude_none=True) if problem else ""
    return Call("stop", (batch_id, status, text, int(at_once)), bool)
