"""Who is woken when there is work: as many as there is work for, of those with room."""

import threading
from collections.abc import Iterator

import pytest
import redis

from rerankq.ledger import calls, keys, verbs
from rerankq.ledger.connection import connect
from rerankq.ledger.keys import Key, name
from rerankq.ledger.store import Ledger
from rerankq.status import JobStatus, Lane
from tests.integration.bench import STRIKES, Bench
from worker.bell import Bell
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


@pytest.fixture
def rung() -> threading.Event:
    return threading.Event()


@pytest.fixture
def room() -> Room:
    return Room(100, reserve=0)


@pytest.fixture
def ledger(redis_url: str) -> Iterator[Ledger]:
    with connect(redis_url) as client:
        yield Ledger(client)


@pytest.fixture
def bell(ledger: Ledger, room: Room, rung: threading.Event) -> Iterator[Bell]:
    bell = Bell(ledger, room, ring=rung.set)
    yield bell
    room.close()
    bell.stop()


def test_a_full_worker_leaves_bells_to_others(
    empty_redis: redis.Redis, ledger: Ledger, bell: Bell, room: Room, rung: threading.Event
) -> None:
    room.take(100)
    bell.start()
    empty_redis.rpush(BELL, 1)
    assert not rung.wait(0.1)
    assert ledger.heard(1.0), "another worker's question"
    empty_redis.rpush(BELL, 1)
    room.give_back(100)
    assert rung.wait(10)
    assert not empty_redis.exists(BELL)


def test_the_bell_is_heard_again_after_redis_was_away(
    empty_redis: redis.Redis, bell: Bell, rung: threading.Event
) -> None:
    empty_redis.set(BELL, "of the wrong type")
    bell.start()
    assert not rung.wait(0.1)
    empty_redis.delete(BELL)
    empty_redis.rpush(BELL, 1)
    assert rung.wait(10)
