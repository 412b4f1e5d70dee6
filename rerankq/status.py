"""What a job can be, and which change from one to the other is allowed."""

from enum import StrEnum
from typing import Literal


class Lane(StrEnum):
    """Who waits: a person (interactive) or nobody (bulk)."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


# The third set of entries, beside the lanes a job can be in: parts of batches, which are bulk work.
CHUNKS = "chunks"


class JobStatus(StrEnum):
    """The life of a job, one line per state."""

    QUEUED = "queued"  # accepted and durable; no worker has taken any of it
    RUNNING = "running"  # at least one of its entries was taken
    SUCCEEDED = "succeeded"  # every entry is scored
    FAILED = "failed"  # it cannot be scored; `error` says why
    CANCELLED = "cancelled"  # its owner withdrew it
    EXPIRED = "expired"  # its deadline passed first

    @property
    def final(self) -> bool:
        return not ALLOWED[self]


# The ledger's scripts enforce this table; a test drives them through every pair.
ALLOWED: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset(
        {JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED}
    ),
    JobStatus.RUNNING: frozenset(
        {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED}
    ),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
    JobStatus.EXPIRED: frozenset(),
}


# The life of a batch, as OpenAI names it.
Phase = Literal[
    "validating",  # its input is being cut
    "in_progress",
    "finalizing",  # all is scored, the output is being written
    "completed",
    "failed",
    "expired",
    "cancelling",  # what was scored is being written
    "cancelled",
]
