"""A ledger to try things on: short words for what the tests of the scripts do."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import redis

from rerankq.ledger import calls, keys
from rerankq.ledger.calls import Committed, Holder, Taken
from rerankq.ledger.codec import VERSION, ShardInput, ShardOutput
from rerankq.ledger.keys import Key, Part, name
from rerankq.ledger.records import HEADER_FIELDS, JobRecord, header
from rerankq.ledger.sharding import Cut
from rerankq.ledger.store import Ledger
from rerankq.schema import JobRequest, Problem
from rerankq.status import CHUNKS, JobStatus, Lane

LEASE_MS = 15_000
TTL_MS = 60_000
TOKENS = 100  # of every entry in these tests
STRIKES = 2


MODEL = "m@rev/float32"


def holder(worker: str, model: str = MODEL) -> Holder:
    return Holder(worker, model, LEASE_MS)


@dataclass
class Bench:
    """A ledger, the bare client beside it, and short words for what the tests do."""

    redis: redis.Redis
    ledger: Ledger
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def new_id(self) -> str:
        return f"job_{next(self.numbers):04x}"

    def stage(self, job_id: str, shards: int) -> None:
        for k in range(shards):
            data = ShardInput(k, ("d",)).encode()
            self.redis.hset(name(Key.STAGE, job_id + Part.INPUT), str(k), data)

    def commit(
        self,
        job_id: str | None = None,
        *,
        shards: int = 1,
        staged: int | None = None,
        lane: Lane = Lane.INTERACTIVE,
        stride: int = 10,
        max_backlog: int = 1000,
        expires_in_ms: int = 60_000,
        idempotency: tuple[str, str] | None = None,
        version: int = VERSION,
        delay_ms: int = 0,
        join_ms: int = 0,
    ) -> Committed:
        job_id = job_id or self.new_id()
        self.stage(job_id, shards if staged is None else staged)
        request = JobRequest(query="q", documents=["d"] * shards, lane=lane)
        shape = Cut(tuple((k, k + 1) for k in range(shards)), TOKENS, stride)
        fields = header(request, shape, model="m", owner="", request_id="r", result_ttl_ms=TTL_MS)
        return self.ledger.run(
            calls.commit(
                job_id,
                {**fields, "version": version},
                entries=shards,
                max_backlog=max_backlog,
                owner="",
                expires_in_ms=expires_in_ms,
                idempotency=idempotency,
                staged=job_id,
                delay_ms=delay_ms,
                join_ms=join_ms,
            )
        )

    def take(self, worker: str = "w", *, model: str = MODEL, **options: Any) -> list[Taken]:
        defaults = {"most": 100, "room": 10_000, "bulk_room": 10_000, "bulk_turn": False}
        call = calls.take(holder(worker, model), **{**defaults, "idle": False, **options})
        return self.ledger.run(call).entries

    def complete(self, entry: str, revision: str = "rev") -> bool:
        output = ShardOutput(0, (1.5,), (), 7)
        return self.ledger.run(calls.complete(entry, output, "m", revision)) != "gone"

    def finish(self, job_id: str, status: JobStatus, problem: Problem | None = None) -> bool:
        return self.ledger.run(calls.finish(job_id, status, problem))

    def reap(self) -> tuple[int, int]:
        done = self.ledger.run(calls.reap(LEASE_MS, STRIKES))
        return done.reclaimed, done.expired

    def lapse(self, *entries: str) -> None:
        """As if the leases' time had passed."""
        for entry in entries:
            self.redis.zadd(name(Key.LEASE), {entry: 1})

    def job(self, job_id: str) -> JobRecord:
        values: Any = self.redis.hmget(name(Key.JOB, job_id), HEADER_FIELDS)
        job = JobRecord.decode(job_id, values)
        assert job is not None
        return job

    def assert_empty(self) -> None:
        """Nothing of any job is open."""
        for lane in (*Lane, CHUNKS):
            assert self.redis.zcard(name(Key.PENDING, lane)) == 0
            assert self.redis.zcard(name(Key.READY, lane)) == 0
            assert int(self.redis.get(name(Key.TOKENS, lane)) or 0) == 0  # type: ignore[arg-type]
        for key in (Key.LEASE, Key.OWNER, Key.DEVICE, Key.TROUBLE, Key.SUSPECTS, Key.DEADLINES):
            assert not self.redis.exists(name(key)), key
        assert not self.redis.keys(f"{keys.ROOT}job:*{Part.INPUT}")
