"""What operators do to the ledger, as calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rerankq.ledger.calls import Call
from rerankq.status import Lane


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of a retry.

    Attributes:
        outcome: created; existing (it was retried before); unknown; full (the lane's backlog);
            not_failed; gone (its inputs are not kept).
        about: the new job's id; with `full` the number of open entries; with `not_failed` the
            job's status.
    """

    outcome: Literal["created", "existing", "unknown", "full", "not_failed", "gone"]
    about: str


def retry(job_id: str, new_id: str, max_backlog: int) -> Call[Retried]:
    return Call(
        "retry",
        (job_id, new_id, max_backlog),
        lambda answer: Retried(answer[0].decode(), answer[1].decode()),
    )


def pause(lane: Lane, *, paused: bool) -> Call[int]:
    return Call("pause", (lane, int(paused)), int)


@dataclass(frozen=True, slots=True)
class Purged:
    """Jobs that one call cancelled, and whether there are more."""

    cancelled: int
    more: bool


def purge(lane: Lane, before_ms: int) -> Call[Purged]:
    """Args: before_ms: Redis time; what is accepted later stays, so that a purge has an end."""
    return Call("purge", (lane, before_ms), lambda answer: Purged(answer[0], bool(answer[1])))
