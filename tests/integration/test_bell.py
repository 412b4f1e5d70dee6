"""Who is woken when there is work: as many as there is work for, of those with room."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from rerankq.ledger import calls, keys, verbs
from rerankq.ledger.calls import Holder
from rerankq.ledger.connection import connect
from rerankq.ledger.keys import Key, name
from rerankq.ledger.store import Ledger
from rerankq.status import JobStatus, Lane
from tests.conftest import eventually
from tests.integration.bench import STRIKES, Bench
from worker.bell import LISTEN_S, Bell
from worker.holdings import Holdings
from worker.listener import Listener
from worker.room import Room

BELL = name(Key.BELL)


def alive(bench: Bench, *workers: str, silent_ms: int = 0) -> None:
    now = 1000 * bench.redis.time()[0] - silent_ms  # type: ignore[index]
    bench.redis.zadd(name(Key.WORKERS), dict.fromkeys(workers, now))


def bells(bench: Bench) -> int:
    """How many lie there; takes them away."""
    found = bench.redis.llen(BELL)
    bench.redis.delete(BELL)
    return int(found)  # type: ignore[arg-type]


def test_a_job_rings_for_its_shards_but_not_for_more_than_the_workers_alive(bench: Bench) -> None:
    bench.commit()
    assert bells(bench) == 0, "nobody would take it away"
    alive(bench, "a", "b")
    alive(bench, "silent", silent_ms=keys.WORKER_SEEN_MS + 1_000)
    bench.commit()
    assert bells(bench) == 1
    bench.commit(shards=5)
    bench.commit(shards=5)
    assert bells(bench) == 2


def test_workers_are_told_of_a_bell_but_not_again_while_it_lies_there(bench: Bench) -> None:
    with bench.redis.pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(name(Key.RUNG))
        subscription.get_message(timeout=1)
        bench.commit()
        assert subscription.get_message(timeout=0.1) is None, "nobody is there to be told"
        alive(bench, "a")
        bench.commit()
        assert subscription.get_message(timeout=5) is not None
        bench.commit()
        assert subscription.get_message(timeout=0.1) is None
        assert bells(bench) == 1
        bench.commit()
        assert subscription.get_message(timeout=5) is not None


def test_what_becomes_ready_again_rings(bench: Bench) -> None:
    alive(bench, "a", "b")
    bench.commit("job_1")
    bells(bench)
    assert bench.take("a")
    bench.ledger.run(calls.release("b", ["job_1:0"]))
    assert bells(bench) == 0, "it was not b's to release"
    bench.ledger.run(calls.release("a", ["job_1:0"]))
    assert bells(bench) == 1
    bench.reap()
    assert bench.take("a")
    bench.lapse("job_1:0")
    assert bench.reap() == (1, 0)
    assert bells(bench) == 1
    assert STRIKES > 1
    bench.finish("job_1", JobStatus.FAILED)
    assert bells(bench) == 0
    bench.ledger.run(verbs.retry("job_1", "job_2", 1000))
    assert bells(bench) == 1


def test_a_delayed_job_rings_when_its_time_has_come(bench: Bench) -> None:
    alive(bench, "a")
    bench.commit("job_1", delay_ms=60_000)
    assert bells(bench) == 0
    bench.redis.zadd(name(Key.SCHEDULED), {"job_1": 1})
    bench.reap()
    bench.reap()
    assert bells(bench) == 1


def test_a_lane_that_is_resumed_rings_for_what_waits(bench: Bench) -> None:
    alive(bench, "a", "b")
    bench.ledger.run(verbs.pause(Lane.BULK, paused=False))
    assert bells(bench) == 0
    bench.ledger.run(verbs.pause(Lane.BULK, paused=True))
    bench.commit(lane=Lane.BULK)
    bells(bench)
    bench.ledger.run(verbs.pause(Lane.BULK, paused=False))
    assert bells(bench) == 1


class Ears:
    """A worker's bell, with an intake that only counts its looks."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.room = Room(100, reserve=0)
        self.looks = threading.Semaphore(0)
        self.left = False
        self.takes = True
        self.bell = Bell(ledger, self.room, self)  # type: ignore[arg-type]

    def look(self) -> bool:
        self.looks.release()
        return self.takes

    def looked(self) -> bool:
        return self.looks.acquire(timeout=10)

    @contextmanager
    def told(self) -> Iterator[None]:
        """It hears what the ledger tells all workers."""
        holder = Holder("busy", "fingerprint", 1_000)
        listener = Listener(
            self.ledger, Holdings(self.room), holder, drop=lambda _: None, rung=self.bell.listen
        )
        listener.start()
        try:
            yield
        finally:
            listener.stop()
            listener._thread.join(10)


@pytest.fixture
def listeners(redis_url: str) -> Iterator[list[Ears]]:
    with connect(redis_url) as client:
        listeners = [Ears(Ledger(client)) for _ in range(2)]
        yield listeners
        for listener in listeners:
            listener.room.close()
            listener.bell.stop()
        # A client that is closed under a vital thread would end the whole test run.
        for listener in listeners:
            if listener.bell._thread.ident is not None:
                listener.bell._thread.join(10)


def blocked(server: redis.Redis) -> int:
    return int(server.info("clients")["blocked_clients"])  # type: ignore[index]


def test_an_idle_worker_is_woken_and_not_a_busy_one(
    empty_redis: redis.Redis, listeners: list[Ears], bench: Bench
) -> None:
    busy, idle = listeners
    busy.room.take(10)
    busy.bell.start()
    idle.bell.start()
    alive(bench, "busy", "idle")
    with busy.told():
        eventually(lambda: empty_redis.pubsub_numsub(name(Key.RUNG))[0][1] == 1, 10)
        for _ in range(20):
            eventually(lambda: blocked(empty_redis) == 1, 10)
            bench.commit()
            assert idle.looked()
    assert not busy.looks.acquire(blocking=False)
    idle.room.take(10)
    eventually(lambda: blocked(empty_redis) == 0, 10)
    empty_redis.rpush(BELL, 1)
    eventually(lambda: not empty_redis.exists(BELL), 10)
    assert any(listener.looks.acquire(timeout=1) for listener in listeners)


def test_a_bell_is_left_or_passed_on_where_work_cannot_be_taken(
    empty_redis: redis.Redis, listeners: list[Ears]
) -> None:
    full, knowing = listeners
    full.room.take(100)
    knowing.left = True
    for listener in listeners:
        listener.bell.start()
    empty_redis.rpush(BELL, 1)
    assert not full.looks.acquire(timeout=0.1)
    knowing.takes = False
    knowing.left = False
    assert knowing.looked()
    knowing.left = True
    eventually(lambda: empty_redis.llen(BELL) == 1, 10)
    full.room.give_back(100)
    assert full.looked()
    eventually(lambda: not empty_redis.exists(BELL), 10)


def test_a_busy_worker_is_told_at_once(
    empty_redis: redis.Redis, listeners: list[Ears], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.bell.LISTEN_S", 60.0)  # untold it would hear nothing in this test
    busy = listeners[0]
    busy.room.take(10)
    busy.bell.start()
    with busy.told():
        eventually(lambda: empty_redis.pubsub_numsub(name(Key.RUNG))[0][1] == 1, 10)
        for _ in range(20):
            busy.ledger.ring()
            assert busy.looked()
        for _ in range(3):
            busy.ledger.ring()
        assert all(busy.looked() for _ in range(3))
        busy.room.take(90)
        busy.ledger.ring()
        assert not busy.looks.acquire(timeout=0.1), "it has no room"
        busy.room.give_back(90)
        assert busy.looked(), "it was told while it had none"


def test_a_busy_worker_that_is_told_nothing_asks_once_a_second(
    empty_redis: redis.Redis, listeners: list[Ears]
) -> None:
    busy = listeners[0]
    busy.room.take(10)
    busy.bell.start()

    def asked() -> int:
        return int(empty_redis.info("commandstats").get("cmdstat_lpop", {}).get("calls", 0))  # type: ignore[union-attr]

    before = asked()
    eventually(lambda: asked() == before + 1, 10)
    first = time.monotonic()
    eventually(lambda: asked() == before + 2, 10)
    assert time.monotonic() - first > LISTEN_S / 2
    empty_redis.rpush(BELL, 1)
    assert busy.looked()


def test_the_bell_is_heard_again_after_redis_was_away(
    empty_redis: redis.Redis, listeners: list[Ears]
) -> None:
    listener = listeners[0]
    empty_redis.set(BELL, "of the wrong type")
    listener.bell.start()
    assert not listener.looks.acquire(timeout=0.1)
    empty_redis.delete(BELL)
    empty_redis.rpush(BELL, 1)
    assert listener.looked()
