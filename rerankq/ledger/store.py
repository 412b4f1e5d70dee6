"""The ledger as a worker uses it: blocking, from its own threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import redis
from redis.exceptions import NoScriptError

from rerankq.ledger import keys, scripts
from rerankq.ledger.batch_record import BATCH_FIELDS, BatchRecord
from rerankq.ledger.batches import ScoredPart
from rerankq.ledger.calls import Call, Committed
from rerankq.ledger.codec import Echo, ShardOutput
from rerankq.ledger.keys import Key, Part, name
from rerankq.ledger.records import HEADER_FIELDS, JobRecord, WorkerInfo
from rerankq.ledger.shards import Shards, staging

T = TypeVar("T")


def raise_first(answers: Iterable[object]) -> None:
    """Raises: the first of a pipeline's answers that is an error."""
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer


def share_of(memory: Mapping[str, Any]) -> float:
    """Of what Redis says of its memory (INFO): what is used of `maxmemory`; 0 if none is set."""
    limit = int(memory.get("maxmemory", 0))
    return int(memory["used_memory"]) / limit if limit else 0.0


class Ledger:
    """Runs calls against one Redis. Thread-safe.

    Raises of every method: redis.RedisError when Redis does not answer in time. Whether the call
    was carried out is then unknown; repeating it is harmless.
    """

    def __init__(self, client: redis.Redis, root: str = keys.ROOT) -> None:
        # redis-py types every answer for both of its modes at once (bytes or str, now or later).
        self._client: Any = client
        self._root = root
        self._name = partial(name, root=root)
        self._hashes: dict[str, str] = {}

    def close(self) -> None:
        self._client.close()

    def run(self, call: Call[T]) -> T:
        (result,) = self.run_all([call])
        return result

    def run_all(self, calls: Sequence[Call[T]]) -> list[T]:
        """All in one round trip, in order, each atomic on its own."""
        answers = self._send(calls)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            self._load(calls)
            answers = self._send(calls)
        raise_first(answers)
        return [call.read(answer) for call, answer in zip(calls, answers, strict=True)]

    def submit(self, shards: Shards, commit: Call[Committed]) -> Committed:
        """Put a job's shards down and commit it."""
        for commands in staging(shards, self._root):
            pipe = self._client.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            pipe.execute()
        return self.run(commit)

    def memory_share(self) -> float:
        """Used memory of `maxmemory`, 0 to 1; 0 where none is set."""
        return share_of(self._client.info("memory"))

    def job(self, job_id: str) -> JobRecord | None:
        """Raises: LaterVersion."""
        values = self._client.hmget(self._name(Key.JOB, job_id), HEADER_FIELDS)
        return JobRecord.decode(job_id, values)

    def batch(self, batch_id: str) -> BatchRecord | None:
        """Raises: LaterVersion."""
        values = self._client.hmget(self._name(Key.JOB, batch_id), BATCH_FIELDS)
        return BatchRecord.decode(batch_id, values)

    def parts(self, batch_id: str) -> list[tuple[int, ScoredPart]]:
        """(number of the chunk, its part), in the order of the input."""
        found = self._client.hscan_iter(self._name(Key.JOB, batch_id + Part.OUTPUT), count=500)
        # A scan may show a field twice.
        return sorted({int(k): ScoredPart.decode(data) for k, data in found}.items())

    def outputs(self, job_id: str) -> list[ShardOutput]:
        """What is scored, in no order."""
        return [
            ShardOutput.decode(data)
            for data in self._client.hvals(self._name(Key.JOB, job_id + Part.OUTPUT))
        ]

    def echoes(self, job_id: str) -> list[Echo]:
        return [
            Echo.decode(data)
            for data in self._client.hvals(self._name(Key.JOB, job_id + Part.ECHO))
        ]

    def heartbeat(self, info: WorkerInfo, busy: float) -> tuple[int, bool]:
        """Say that this worker lives; silence removes it after `WORKER_TTL_MS`.

        Args:
            busy: share of the last minute in which its device worked.

        Returns: Redis's clock in ms; whether an operator asks it to drain.
        """
        seconds, micros = self._client.time()
        now = seconds * 1000 + micros // 1000
        pipe = self._client.pipeline(transaction=False)
        pipe.hset(self._name(Key.WORKER, info.id), mapping=info.encode())
        pipe.pexpire(self._name(Key.WORKER, info.id), keys.WORKER_TTL_MS)
        pipe.zadd(self._name(Key.WORKERS), {info.id: now})
        pipe.zadd(self._name(Key.MODELS), {info.fingerprint: now})
        pipe.zremrangebyscore(self._name(Key.MODELS), "-inf", now - keys.WORKER_TTL_MS)
        pipe.zremrangebyscore(self._name(Key.WORKERS), "-inf", now - keys.WORKER_TTL_MS)
        tenths, worked = keys.tenths(info.id), round(10 * busy)
        if worked:
            pipe.zadd(self._name(Key.BUSY), dict.fromkeys(tenths[:worked], now))
        if worked < len(tenths):
            pipe.zrem(self._name(Key.BUSY), *tenths[worked:])
        pipe.get(self._name(Key.DRAIN, info.id))
        *_, drain = pipe.execute()
        return int(now), drain is not None

    def heard(self, listen_s: float) -> bool:
        """Whether a bell rings within that time (0: does now); nobody else hears it."""
        if not listen_s:
            return self._client.lpop(self._name(Key.BELL)) is not None
        return self._client.blpop(self._name(Key.BELL), timeout=listen_s) is not None

    def ring(self) -> None:
        """Pass a bell on that was heard and cannot be followed."""
        pipe = self._client.pipeline(transaction=False)
        pipe.lpush(self._name(Key.BELL), 1)
        pipe.publish(self._name(Key.RUNG), 1)
        pipe.execute()

    def told(self, listen_s: float, *, until: Callable[[], bool]) -> Iterator[tuple[Key, str]]:
        """What all workers are told, as it happens: `Key.GONE` with a job's id, and `Key.RUNG`.

        Args:
            listen_s: how long one read may take, and so how often `until` is asked.
        """
        channels = {self._name(key).encode(): key for key in (Key.GONE, Key.RUNG)}
        with self._client.pubsub(ignore_subscribe_messages=True) as subscription:
            subscription.subscribe(*channels)
            while not until():
                message = subscription.get_message(timeout=listen_s)
                if message is not None and message["type"] == "message":
                    yield channels[message["channel"]], message["data"].decode()

    def forget_worker(self, worker: str) -> None:
        pipe = self._client.pipeline(transaction=False)
        pipe.delete(self._name(Key.WORKER, worker))
        pipe.zrem(self._name(Key.WORKERS), worker)
        pipe.zrem(self._name(Key.BUSY), *keys.tenths(worker))
        pipe.execute()

    def _send(self, calls: Sequence[Call[T]]) -> list[Any]:
        pipe = self._client.pipeline(transaction=False)
        for call in calls:
            pipe.evalsha(self._hashes.get(call.script, "0" * 40), 0, *call.args)
        answers: list[Any] = pipe.execute(raise_on_error=False)
        return answers

    def _load(self, calls: Sequence[Call[T]]) -> None:
        for script in {call.script for call in calls}:
            self._hashes[script] = str(self._client.script_load(scripts.source(script, self._root)))
