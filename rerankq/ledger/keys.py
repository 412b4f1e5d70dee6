"""Every name in Redis: ledger keys, queues, tasks, the channel.

The Lua scripts get these names from here too (`scripts.source`), so a key is spelled once.
Times are Redis server milliseconds. An entry is `<job id>:<k>`, one shard of the job.
A further model has a ledger of its own, under a root of its own, on the same Redis.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from rerankq.status import Lane

ROOT = "rerankq:"


class Key(StrEnum):
    """Names under the root; those that end in a colon take a lane, a job id or a worker id."""

    PENDING = "pending:"  # + lane: sorted set, open entry -> accepted ms; what autoscalers read
    READY = "ready:"  # + lane: sorted set, entry to take -> fair score in ms
    LEASE = "lease"  # sorted set, taken entry -> ms when the lease ends
    OWNER = "owner"  # hash, taken entry -> worker that holds it
    DEVICE = "device"  # hash, entry -> worker that has it on its device, or is about to
    TROUBLE = "trouble"  # hash, entry -> "losses losses_on_device strikes"
    SUSPECTS = "suspects"  # sorted set, entry that must run alone -> fair score; ready or leased
    SOLO = "solo"  # string, worker that empties itself to run a suspect; lives one lease
    JOB = "job:"  # + id: hash, the job's header; with a Part behind it, what belongs to the job
    STAGE = "stage:"  # + token and a Part: what is put down before its job exists
    IDEM = "idem:"  # + hash of owner and Idempotency-Key: hash, job id and body hash
    BELL = "bell"  # list, one element for each worker that is to look for work
    OUTBOX = "outbox:"  # + webhook or task: sorted set, id of a final job -> ms of its next try
    SCHEDULED = "scheduled"  # sorted set, id of a delayed job -> ms when its entries come to be
    DEADLINES = "deadlines"  # sorted set, job id -> ms when it expires
    JOBS = "jobs:"  # + owner: sorted set, job id -> created ms; the newest JOBS_KEPT
    FILE = "file:"  # + id: hash, what is known of an uploaded file or a batch's output
    FILES = "files:"  # + owner: sorted set, file id -> created ms
    FILES_OVER = "files-over"  # sorted set, file id -> ms when its bytes are to go
    WORKER = "worker:"  # + id: hash, what the worker says of itself; lives WORKER_TTL_MS
    DRAIN = "drain:"  # + worker id: string, an operator asks it to drain; lives WORKER_TTL_MS
    WORKERS = "workers"  # sorted set, worker id -> ms of its last heartbeat
    BATCHES = "batches"  # set, ids of the batches that are not final
    OUTPUT_OF = "output:"  # + digest of its URL: string, id of the batch that last wrote it
    SERVED = "served"  # string, how far batches' chunks are served, in ms of their own time
    BUSY = "busy"  # sorted set, a worker's `tenths` that its device works -> ms of its heartbeat
    MODELS = "models"  # sorted set, fingerprint of a model -> ms its workers were last heard
    PAUSED = "paused"  # set, lanes of which nothing is taken
    TICK = "tick"  # string, ms of the last reap
    TOKENS = "tokens:"  # + lane: string, backlog in estimated tokens
    COUNTS = "counts"  # hash, "<status> <lane>" -> jobs that ever reached it
    FAILURES = "failures"  # hash, code of a failed job's error -> jobs that ever failed with it
    LOST = "lost"  # hash, code -> lines of batches that by our fault have no score
    RECLAIMED = "reclaimed"  # string, lapsed leases that were ever given back
    RATE = "rate"  # + ":" and what the package `limits` calls a caller's window: string, its calls
    SCORE = "score:"  # + digest of a pair and its model: string, its score; lives RERANKQ_CACHE_TTL
    RUNG = "rung"  # channel, tells busy workers that a bell was put down
    DONE = "done"  # channel, "<id> <status> <lane> <ms from created to finished>"
    ENDED = "ended:"  # + id: channel, tells who waits for that batch its final status
    GONE = "gone"  # channel, id of a job that ended with entries open: workers drop them


class Part(StrEnum):
    """Hashes of one job, named `job:<id><part>`; the field is the shard's number k."""

    INPUT = ":in"  # compressed shard; gone once scored or final
    OUTPUT = ":out"  # float32 log-odds and usage
    ECHO = ":echo"  # the caller's ids and texts that go back with the results
    KEPT = ":kept"  # what was not scored of a job that failed, in case it is tried again
    WATCH = ":watch"  # a set: the synchronous requests that wait for it
    PLAN = ":plan"  # a list: a batch's chunks that are no entries yet, in order


STAGED_TTL_MS = 600_000  # an upload that never commits is forgotten
WORKER_TTL_MS = 15_000
WORKER_SEEN_MS = 10_000  # a worker silent for longer does not count as ready
TICK_STALE_MS = 5_000  # a longer gap means Redis or the host slept: nobody's lease may lapse
JOBS_KEPT = 100_000
FULLEST_REDIS = 0.75  # of maxmemory; the rest is for the results of what was accepted
FULLEST_FOR_SCORES = 0.5  # above it no score is cached
GIVEN_UP = "given-up "  # before a chunk that is not to be scored, since workers died of it
CHUNKS_OPEN = 256  # entries of one batch at a time; the others wait in its plan
MERGE_MS = 24 * 3_600_000  # within which a batch that was cancelled or expired has to be merged
MAX_ENTRIES = 2_000  # of one job; more would hold Redis for too long in one script
SUSPECT_DEVICE_LOSSES = 2  # after one, a storm of kills made suspects of innocents (simulated)
SUSPECT_LOSSES = 5
REAPED_AT_ONCE = 2_000  # entries one reap may touch, for the same reason

QUEUE_INTERACTIVE = "rerankq.interactive"
QUEUE_BULK = "rerankq.bulk"
TAG_DIGITS = 8

TASK_RERANK = "rerankq.rerank"
HEADER_JOB = "rerankq_job"  # of a public task's message: the job that has its ranking


def name(key: Key, tail: str = "", root: str = ROOT) -> str:
    """The full Redis name of a key, e.g. `rerankq:pending:bulk`."""
    return f"{root}{key}{tail}"


def root_of(model: str | None) -> str:
    """Of a further model's ledger, e.g. `rerankq:BAAI/bge-reranker-base:`; None: the default's."""
    return ROOT if model is None else f"{ROOT}{model}:"


def queue_of(lane: Lane, model: str | None = None) -> str:
    """The public Celery queue of a lane, e.g. `rerankq.bulk` or `rerankq.<further model>.bulk`."""
    return f"rerankq.{lane}" if model is None else f"rerankq.{model}.{lane}"


def booked_of(model: str | None = None) -> dict[str, str]:
    """Where this model's workers book the messages they hold, as kombu's transport options.

    Not kombu's own names: every other app on the same Redis would give ours back by its visibility
    timeout and we its by ours, and an autoscaler would keep workers for what others hold.
    """
    start = "rerankq." if model is None else f"rerankq.{model}."
    parts = ("unacked", "unacked_index", "unacked_mutex")
    return {f"{part}_key": start + part for part in parts}


def tag_of(model: str | None) -> str:
    """What ends the ids of a further model's jobs, so that an id says where its job is."""
    return "" if model is None else hashlib.sha256(model.encode()).hexdigest()[:TAG_DIGITS]


def entry(job_id: str, k: int) -> str:
    return f"{job_id}:{k}"


def tenths(worker: str) -> list[str]:
    """As many of these are in BUSY as tenths of the last minute the device worked.

    So the set's size is what all devices do, in tenths: an autoscaler can read sizes alone.
    """
    return [f"{worker}:{k}" for k in range(10)]


def split_entry(text: str) -> tuple[str, int]:
    job_id, _, k = text.rpartition(":")
    return job_id, int(k)
