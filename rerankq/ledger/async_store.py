"""The ledger as the front uses it: asynchronous, with the reads that answer a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import redis.asyncio
from redis.exceptions import NoScriptError

from rerankq.errors import LaterVersion
from rerankq.ledger import batches, keys, scripts
from rerankq.ledger.batch_record import BATCH_FIELDS, BatchRecord
from rerankq.ledger.calls import Call, Committed
from rerankq.ledger.codec import Echo, ShardOutput
from rerankq.ledger.keys import Key, Part, name
from rerankq.ledger.records import HEADER_FIELDS, JobRecord, WorkerInfo
from rerankq.ledger.shards import Command, Shards, staging
from rerankq.ledger.store import raise_first, share_of

T = TypeVar("T")

FEW_ENTRIES = 16  # read in one round trip; more would hold Redis, and come in slices


@dataclass(frozen=True, slots=True)
class LaneCounts:
    """Ledger entries of one lane; `oldest_ms` is the oldest's age, None when nothing waits."""

    waiting: int
    in_flight: int
    oldest_ms: int | None
    tokens: int
    paused: bool


class AsyncLedger:
    """Runs calls and reads on one Redis, from one event loop.

    Raises of every method: redis.RedisError when Redis does not answer in time.
    """

    def __init__(self, client: redis.asyncio.Redis, root: str = keys.ROOT) -> None:
        # redis-py types every answer for both of its modes at once (bytes or str, now or later).
        self._client: Any = client
        self._root = root
        self.name = partial(name, root=root)
        self._hashes: dict[str, str] = {}

    async def run(self, call: Call[T]) -> T:
        try:
            answer = await self._evalsha(call)
        except NoScriptError:
            loaded = await self._client.script_load(scripts.source(call.script, self._root))
            self._hashes[call.script] = str(loaded)
            answer = await self._evalsha(call)
        return call.read(answer)

    async def _evalsha(self, call: Call[T]) -> Any:
        return await self._client.evalsha(self._hash(call), 0, *call.args)

    def _hash(self, call: Call[T]) -> str:
        return self._hashes.get(call.script, "0" * 40)  # of none: Redis asks for the script then

    async def memory_share(self) -> float:
        """Used memory of `maxmemory`, 0 to 1; 0 where none is set."""
        return share_of(await self._client.info("memory"))

    async def ping(self) -> None:
        await self._client.ping()

    async def submit(self, shards: Shards, commit: Call[Committed]) -> Committed:
        """Put a job's shards down and commit it; a small one in a single round trip."""
        *slices, last = staging(shards, self._root)
        for commands in slices:
            await self._pipeline(commands).execute()
        pipe = self._pipeline(last)
        pipe.evalsha(self._hash(commit), 0, *commit.args)
        *staged, answer = await pipe.execute(raise_on_error=False)
        raise_first(staged)
        if isinstance(answer, NoScriptError):
            return await self.run(commit)
        raise_first([answer])
        return commit.read(answer)

    def _pipeline(self, commands: Iterable[Command]) -> Any:
        pipe = self._client.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        return pipe

    async def job(self, job_id: str) -> JobRecord | None:
        """Raises: LaterVersion."""
        values = await self._client.hmget(self.name(Key.JOB, job_id), HEADER_FIELDS)
        return JobRecord.decode(job_id, values)

    async def batch(self, batch_id: str) -> BatchRecord | None:
        """Raises: LaterVersion."""
        values = await self._client.hmget(self.name(Key.JOB, batch_id), BATCH_FIELDS)
        return BatchRecord.decode(batch_id, values)

    async def newest_jobs(
        self, owner: str, before: tuple[int, str] | None, count: int
    ) -> list[tuple[int, str, JobRecord | None]]:
        """(created ms, id, job or None if it cannot be shown), newest first.

        Args:
            before: (created ms, id) of the last one seen; None for the newest.
        """
        rows = await self._newest(owner, before, count, HEADER_FIELDS)
        return [(created, id_, _shown(JobRecord.decode, id_, row)) for created, id_, row in rows]

    async def newest_batches(
        self, owner: str, before: tuple[int, str] | None, count: int
    ) -> list[tuple[int, str, BatchRecord | None]]:
        """As `newest_jobs`."""
        rows = await self._newest(batches.listed_as(owner), before, count, BATCH_FIELDS)
        return [(created, id_, _shown(BatchRecord.decode, id_, row)) for created, id_, row in rows]

    async def _newest(
        self, owner: str, before: tuple[int, str] | None, count: int, fields: Sequence[str]
    ) -> list[tuple[int, str, Sequence[bytes | None]]]:
        members = await self._newest_ids(owner, before, count)
        pipe = self._client.pipeline(transaction=False)
        for _, job_id in members:
            pipe.hmget(self.name(Key.JOB, job_id), fields)
        rows = await pipe.execute() if members else []
        over = [
            job_id for (_, job_id), values in zip(members, rows, strict=True) if not any(values)
        ]
        if over:  # the next page shall not walk past them again
            await self._client.zrem(self.name(Key.JOBS, owner), *over)
        return [(*member, row) for member, row in zip(members, rows, strict=True)]

    async def _newest_ids(
        self, owner: str, before: tuple[int, str] | None, count: int
    ) -> list[tuple[int, str]]:
        key, skip = self.name(Key.JOBS, owner), 0
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

    async def scored(self, job: JobRecord) -> tuple[list[ShardOutput], list[Echo]]:
        """What is scored so far and what goes back with it, in no order."""
        outputs, echoes = await self._both(job)
        return [ShardOutput.decode(data) for data in outputs], [Echo.decode(d) for d in echoes]

    async def _both(self, job: JobRecord) -> Sequence[list[bytes]]:
        if job.entries > FEW_ENTRIES:
            parts = (Part.OUTPUT, Part.ECHO)
            return [[data async for data in self._values(job.id, part)] for part in parts]
        pipe = self._client.pipeline(transaction=False)
        for part in (Part.OUTPUT, Part.ECHO):
            pipe.hvals(self.name(Key.JOB, job.id + part))
        both: list[list[bytes]] = await pipe.execute()
        return both

    async def _values(self, job_id: str, part: Part) -> AsyncIterator[bytes]:
        seen: set[bytes] = set()  # a scan may show a field twice
        async for field, data in self._client.hscan_iter(
            self.name(Key.JOB, job_id + part), count=100
        ):
            if field not in seen:
                seen.add(field)
                yield data

    async def lane(self, lane: str) -> LaneCounts:
        """Args: lane: one of jobs, or `CHUNKS`."""
        pipe = self._client.pipeline(transaction=False)
        pipe.zcard(self.name(Key.PENDING, lane))
        pipe.zcard(self.name(Key.READY, lane))
        pipe.zrange(self.name(Key.PENDING, lane), 0, 0, withscores=True)
        pipe.get(self.name(Key.TOKENS, lane))
        pipe.sismember(self.name(Key.PAUSED), lane)
        pipe.time()
        pending, ready, first, tokens, paused, (seconds, micros) = await pipe.execute()
        now = seconds * 1000 + micros // 1000
        oldest = max(0, now - int(first[0][1])) if first and ready else None
        return LaneCounts(ready, max(0, pending - ready), oldest, int(tokens or 0), bool(paused))

    async def open_entries(self, job_ids: Sequence[str]) -> list[int]:
        """How many entries of each are waiting or in flight."""
        pipe = self._client.pipeline(transaction=False)
        for job_id in job_ids:
            pipe.hlen(self.name(Key.JOB, job_id + Part.INPUT))
        counts: list[int] = await pipe.execute() if job_ids else []
        return counts

    async def workers(self) -> list[WorkerInfo]:
        """Those heard of within `WORKER_SEEN_MS`."""
        since = await self.now_ms() - keys.WORKER_SEEN_MS
        ids = await self._client.zrangebyscore(self.name(Key.WORKERS), since, "+inf")
        pipe = self._client.pipeline(transaction=False)
        for worker in ids:
            pipe.hgetall(self.name(Key.WORKER, worker.decode()))
        rows = await pipe.execute() if ids else []
        return [WorkerInfo.decode(fields) for fields in rows if fields]

    async def now_ms(self) -> int:
        """Redis's clock."""
        seconds, micros = await self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def ask_to_drain(self, worker: str) -> None:
        """Its next heartbeat will find it."""
        await self._client.set(self.name(Key.DRAIN, worker), 1, px=keys.WORKER_TTL_MS)

    async def counts(self) -> dict[tuple[str, ...], int]:
        """(status, lane) -> jobs that ever reached it."""
        fields = await self._client.hgetall(self.name(Key.COUNTS))
        return {tuple(key.decode().split()): int(value) for key, value in fields.items()}

    async def failures(self) -> dict[tuple[str, ...], int]:
        """(code of the error,) -> jobs and batches that ever failed with it."""
        return await self._by_code(Key.FAILURES)

    async def lost_lines(self) -> dict[tuple[str, ...], int]:
        """(code,) -> lines of batches that by our fault have no score."""
        return await self._by_code(Key.LOST)

    async def _by_code(self, key: Key) -> dict[tuple[str, ...], int]:
        fields = await self._client.hgetall(self.name(key))
        return {(code.decode(),): int(value) for code, value in fields.items()}

    def subscription(self) -> redis.asyncio.client.PubSub:
        """A connection of its own for the `DONE` channel; the caller subscribes and closes."""
        subscription: redis.asyncio.client.PubSub = self._client.pubsub()
        return subscription


def _shown(
    decode: Callable[[str, Sequence[bytes | None]], T | None],
    job_id: str,
    values: Sequence[bytes | None],
) -> T | None:
    try:
        return decode(job_id, values)
    except LaterVersion:
        return None  # one such job must not spoil the page
