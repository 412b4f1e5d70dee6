"""The ledger as the front uses it: asynchronous, with the reads that answer a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import redis.asyncio
from redis.exceptions import NoScriptError

from rerankq.ledger import keys, scripts
from rerankq.ledger.calls import Call
from rerankq.ledger.codec import Echo, ShardOutput
from rerankq.ledger.keys import Key, Part, name
from rerankq.ledger.records import JobRecord, WorkerInfo
from rerankq.status import Lane

T = TypeVar("T")

_STAGE_SLICE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """Ledger entries of one lane; `oldest_ms` is the oldest's age, None when nothing waits."""

    waiting: int
    in_flight: int
    oldest_ms: int | None
    tokens: int


class AsyncLedger:
    """Runs calls and reads on one Redis, from one event loop.

    Raises of every method: redis.RedisError when Redis does not answer in time.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        # redis-py types every answer for both of its modes at once (bytes or str, now or later).
        self._client: Any = client
        self._hashes: dict[str, str] = {}

    async def run(self, call: Call[T]) -> T:
        try:
            answer = await self._evalsha(call)
        except NoScriptError:
            loaded = await self._client.script_load(scripts.source(call.script))
            self._hashes[call.script] = str(loaded)
            answer = await self._evalsha(call)
        return call.read(answer)

    async def _evalsha(self, call: Call[T]) -> Any:
        return await self._client.evalsha(
            self._hashes.get(call.script, "0" * 40),
            0,
            *call.args,
        )

    async def memory_share(self) -> float:
        """Used memory of `maxmemory`, 0 to 1; 0 where none is set."""
        info = await self._client.info("memory")
        limit = int(info.get("maxmemory", 0))
        return int(info["used_memory"]) / limit if limit else 0.0

    async def ping(self) -> None:
        await self._client.ping()

    async def stage(self, job_id: str, part: Part, shards: Iterable[bytes]) -> None:
        """Put a job's shards down, in slices, so that no single write holds Redis for long."""
        key = name(Key.JOB, job_id + part)
        pipe = self._client.pipeline(transaction=False)
        size = 0
        for k, shard in enumerate(shards):
            pipe.hset(key, str(k), shard)
            if k == 0:
                # At once: if this process dies half-way, what it put down must go too.
                pipe.pexpire(key, keys.STAGED_TTL_MS)
            size += len(shard)
            if size >= _STAGE_SLICE_BYTES:
                await pipe.execute()
                size = 0
        await pipe.execute()

    async def job(self, job_id: str) -> JobRecord | None:
        fields = await self._client.hgetall(name(Key.JOB, job_id))
        return JobRecord.decode(job_id, fields) if fields else None

    async def newest_jobs(
        self, owner: str, before: tuple[int, str] | None, count: int
    ) -> list[tuple[int, str, JobRecord | None]]:
        """(created ms, id, job or None if its time is over), newest first.

        Args:
            before: (created ms, id) of the last one seen; None for the newest.
        """
        members = await self._newest_ids(owner, before, count)
        pipe = self._client.pipeline(transaction=False)
        for _, job_id in members:
            pipe.hgetall(name(Key.JOB, job_id))
        rows = await pipe.execute() if members else []
        return [
            (created, job_id, JobRecord.decode(job_id, fields) if fields else None)
            for (created, job_id), fields in zip(members, rows, strict=True)
        ]

    async def _newest_ids(
        self, owner: str, before: tuple[int, str] | None, count: int
    ) -> list[tuple[int, str]]:
        key, skip = name(Key.JOBS, owner), 0
        found: list[tuple[int, str]] = []
        high: int | str = before[0] if before else "+inf"
        while len(found) < count:
            # Redis orders equal scores by member, so the cursor is the pair of both.
            rows = await self._client.zrevrangebyscore(
                key, high, "-inf", start=skip, num=count, withscores=True
            )
            page = [(int(score), member.decode()) for member, score in rows]
            found += [row for row in page if before is None or row < before]
            skip += len(rows)
            if len(rows) < count:
                break
        return found[:count]

    async def outputs(self, job_id: str) -> AsyncIterator[ShardOutput]:
        """What is scored so far, in no order."""
        async for data in self._values(job_id, Part.OUTPUT):
            yield ShardOutput.decode(data)

    async def echoes(self, job_id: str) -> AsyncIterator[Echo]:
        async for data in self._values(job_id, Part.ECHO):
            yield Echo.decode(data)

    async def _values(self, job_id: str, part: Part) -> AsyncIterator[bytes]:
        seen: set[bytes] = set()  # a scan may show a field twice
        async for field, data in self._client.hscan_iter(name(Key.JOB, job_id + part), count=100):
            if field not in seen:
                seen.add(field)
                yield data

    async def lane(self, lane: Lane) -> LaneCounts:
        pipe = self._client.pipeline(transaction=False)
        pipe.zcard(name(Key.PENDING, lane))
        pipe.zcard(name(Key.READY, lane))
        pipe.zrange(name(Key.PENDING, lane), 0, 0, withscores=True)
        pipe.get(name(Key.TOKENS, lane))
        pipe.time()
        pending, ready, first, tokens, (seconds, micros) = await pipe.execute()
        now = seconds * 1000 + micros // 1000
        oldest = max(0, now - int(first[0][1])) if first and ready else None
        return LaneCounts(ready, max(0, pending - ready), oldest, int(tokens or 0))

    async def workers(self) -> list[WorkerInfo]:
        """Those heard of within `WORKER_SEEN_MS`."""
        seconds, micros = await self._client.time()
        since = seconds * 1000 + micros // 1000 - keys.WORKER_SEEN_MS
        ids = await self._client.zrangebyscore(name(Key.WORKERS), since, "+inf")
        pipe = self._client.pipeline(transaction=False)
        for worker in ids:
            pipe.hgetall(name(Key.WORKER, worker.decode()))
        rows = await pipe.execute() if ids else []
        return [WorkerInfo.decode(fields) for fields in rows if fields]

    async def counts(self) -> dict[tuple[str, str], int]:
        """(status, lane) -> jobs that ever reached it."""
        fields = await self._client.hgetall(name(Key.COUNTS))
        split: Sequence[tuple[list[str], int]] = [
            (key.decode().split(), int(value)) for key, value in fields.items()
        ]
        return {(status, lane): value for (status, lane), value in split}

    def subscription(self) -> redis.asyncio.client.PubSub:
        """A connection of its own for the `DONE` channel; the caller subscribes and closes."""
        subscription: redis.asyncio.client.PubSub = self._client.pubsub()
        return subscription
