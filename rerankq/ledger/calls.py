"""Each change of the ledger as a value: the script, its arguments, how to read its answer.

The blocking and the asynchronous ledger run the same calls, so neither can drift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from rerankq.ledger.codec import VERSION, ShardOutput
from rerankq.ledger.keys import split_entry
from rerankq.schema import Problem
from rerankq.status import CHUNKS, JobStatus, Lane

T = TypeVar("T")
Arg = str | bytes | int | float


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One script call. `read` turns Redis's answer into the result."""

    script: str
    args: tuple[Arg, ...]
    read: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a submission.

    Attributes:
        outcome: created; existing (same key and body, or a replay); conflict (same key, other
            body); full (the lane's backlog); unstaged (the upload took too long);
            output_taken (another batch is still writing there).
        about: the job that now exists; with `full` the number of open entries; with
            `output_taken` the batch that writes.
    """

    outcome: Literal["created", "existing", "conflict", "full", "unstaged", "output_taken"]
    about: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A leased entry.

    Attributes:
        fair_score: its place among others, in ms; lower goes first.
        tokens: estimated at submission.
        waited_ms: since the job was accepted.
        context: undecoded `JobContext`.
        input: undecoded `ShardInput`; None if its job lost it.
        traceparent: of the request that made the job; empty where nothing is traced.
        chunk: of a batch; its context is the batch's spec, its input what is to be done.
    """

    entry: str
    lane: Lane
    fair_score: float
    tokens: int
    waited_ms: int
    context: bytes
    input: bytes | None
    traceparent: str
    chunk: bool = False

    @property
    def job_id(self) -> str:
        return split_entry(self.entry)[0]


def commit(
    job_id: str,
    header: Mapping[str, Arg],
    *,
    entries: int,
    max_backlog: int,
    owner: str,
    expires_in_ms: int,
    idempotency: tuple[str, str] | None,
    staged: str,
    delay_ms: int = 0,
    join_ms: int = 0,
) -> Call[Committed]:
    """Args:
    idempotency: hash of the key, hash of the body.
    staged: the token under which the shards lie.
    join_ms: for how long others may join the job by its key; `job_id` names who watches it.
    """
    key, body = idempotency or ("", "")
    pairs = [part for item in header.items() for part in item]
    return Call(
        "commit",
        (
            *(job_id, entries, max_backlog, key, body, owner, expires_in_ms, delay_ms),
            *(staged, join_ms, *pairs),
        ),
        lambda answer: Committed(answer[0].decode(), answer[1].decode()),
    )


@dataclass(frozen=True, slots=True)
class Take:
    """The answer of `take`.

    Attributes:
        bulk_waits: bulk work is still ready.
        left: any work is; perhaps what this worker may not take.
        called: a suspect waits, and this worker is to run it: empty itself, then `take_alone`.
        entries: what was taken.
    """

    bulk_waits: bool
    left: bool
    called: bool
    entries: list[Taken]


@dataclass(frozen=True, slots=True)
class Holder:
    """Who takes: `model` says by which model, revision and dtype it scores."""

    worker: str
    model: str
    lease_ms: int


def take(
    holder: Holder,
    *,
    most: int,
    room: int,
    bulk_room: int,
    bulk_turn: bool,
    idle: bool,
    mark: bool = False,
    chunks: int = 0,
) -> Call[Take]:
    """With `mark` a single entry is marked as by `hold`, which saves an idle worker that call.

    Args:
        chunks: so many of batches at most, beside the others.
    """
    return _take(holder, most, room, bulk_room, int(bulk_turn), int(idle), 0, int(mark), chunks)


def take_alone(holder: Holder) -> Call[Take]:
    """One suspect at most, by a worker that holds nothing."""
    return _take(holder, 1, 0, 0, 0, 1, 1, 0, 0)


def _take(holder: Holder, *how: int) -> Call[Take]:
    return Call(
        "take",
        (holder.worker, holder.model, holder.lease_ms, VERSION, *how),
        _taken_all,
    )


def _taken_all(answer: list[Any]) -> Take:
    bulk, left, called, *rows = answer
    return Take(bulk > 0, left > 0, called > 0, [_taken(row) for row in rows])


def _taken(row: list[Any]) -> Taken:
    entry, lane, score, tokens, waited = (part.decode() for part in row[:5])
    context, data, traced = row[5:]
    traceparent = (traced or b"").decode()
    return Taken(
        entry,
        Lane.BULK if lane == CHUNKS else Lane(lane),
        float(score),
        int(tokens),
        int(waited),
        context,
        data,
        traceparent,
        chunk=lane == CHUNKS,
    )


def hold(worker: str, lease_ms: int, entries: Iterable[str], *, mark: bool) -> Call[set[str]]:
    """The answer: the entries that are gone."""
    return Call(
        "hold",
        (worker, lease_ms, int(mark), *entries),
        lambda answer: {entry.decode() for entry in answer},
    )


Completed = Literal["stored", "due", "gone"]


def complete(entry: str, output: ShardOutput, model: str, revision: str) -> Call[Completed]:
    """The answer: `gone` if others' scores count; `due` if a public task's result is due by it."""
    return Call(
        "complete",
        (
            entry,
            output.encode(),
            len(output.log_odds),
            output.tokens,
            len(output.truncated),
            model,
            revision,
        ),
        lambda answer: answer.decode(),
    )


def release(worker: str, entries: Iterable[str]) -> Call[int]:
    return Call("release", (worker, *entries), int)


def finish(job_id: str, status: JobStatus, problem: Problem | None = None) -> Call[bool]:
    text = problem.model_dump_json(exclude_none=True) if problem else ""
    return Call("finish", (job_id, status, text), bool)


def leave(job_id: str, watcher: str, *, cancel: bool) -> Call[int]:
    """The answer: how many still wait for the job.

    Args:
        cancel: the job too, unless one still waits or has gone after this one.
    """
    return Call("leave", (job_id, watcher, int(cancel)), int)


Outbox = Literal["webhook", "task"]


@dataclass(frozen=True, slots=True)
class Due:
    """Something of an outbox that is to be sent now.

    Attributes:
        what: a webhook's URL, or a public task's envelope.
        attempt: counted from 1.
    """

    job_id: str
    what: str
    attempt: int


def claim(outbox: Outbox, lease_ms: int, most: int) -> Call[list[Due]]:
    return Call(
        "claim",
        (outbox, lease_ms, most),
        lambda answer: [Due(row[0].decode(), row[1].decode(), row[2]) for row in answer],
    )


def ack(outbox: Outbox, job_id: str, again_in_s: float | None = None) -> Call[int]:
    """Args: again_in_s: until the next try; None: there is none."""
    return Call("ack", (outbox, job_id, -1 if again_in_s is None else int(again_in_s * 1000)), int)


POISON = Problem(
    title="Internal Server Error",
    status=500,
    code="worker_lost",
    detail="a part of the job was lost with its worker again and again, at last while it ran alone",
)
EXPIRED = Problem(
    title="Expired", status=410, code="expired", detail="the job's deadline passed before its end"
)


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one reap did, and entries that were ever reclaimed, by anyone."""

    reclaimed: int
    expired: int
    reclaimed_ever: int


def reap(lease_ms: int, max_strikes: int) -> Call[Reaped]:
    problems = (problem.model_dump_json(exclude_none=True) for problem in (EXPIRED, POISON))
    return Call(
        "reap",
        (lease_ms, max_strikes, *problems),
        lambda answer: Reaped(*answer),
    )
