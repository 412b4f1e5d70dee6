"""Results on their way back: none is lost while Redis refuses, none holds up the others."""

from collections.abc import Iterator

import pytest
import redis

from rerankq.ledger.connection import connect
from rerankq.ledger.keys import Key, name
from rerankq.ledger.store import Ledger
from tests.conftest import eventually
from tests.held_engine import HeldEngine, pair
from tests.integration.bench import Bench
from worker.completion import Completion
from worker.holdings import Holdings
from worker.room import Room
from worker.work import Work


@pytest.fixture
def holdings() -> Holdings:
    return Holdings(Room(1000, reserve=0))


@pytest.fixture
def told() -> list[bool]:
    """What `after` was told, call by call."""
    return []


@pytest.fixture
def completion(redis_url: str, holdings: Holdings, told: list[bool]) -> Iterator[Completion]:
    with connect(redis_url) as client:
        completion = Completion(
            *(Ledger(client), holdings, HeldEngine().profile, "w"),
            scored=lambda _: None,
            after=told.append,
        )
        yield completion
        completion.stop()


def test_a_refused_result_does_not_block_the_others(
    empty_redis: redis.Redis, completion: Completion, holdings: Holdings
) -> None:
    empty_redis.set(name(Key.JOB, "job_bad"), "of the wrong type")
    for entry in ("job_a:0", "job_bad:0", "job_b:0"):
        holdings.add(entry, 10)
        work = Work(entry, "j", [pair(1)], 0.0, completion.put)
        work.put(0, 1.0)
    completion.start()
    eventually(lambda: not holdings.entries(), 10)


def test_results_wait_while_redis_refuses_for_now(
    empty_redis: redis.Redis,
    completion: Completion,
    holdings: Holdings,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that was demoted, as in a failover, refuses from inside the script."""
    holdings.add("job_a:0", 10)
    empty_redis.replicaof("127.0.0.1", "1")
    try:
        completion.start()
        completion.release(["job_a:0"])
        eventually(lambda: "results wait for redis" in caplog.text, 10)
        assert holdings.entries() == ["job_a:0"]
    finally:
        empty_redis.replicaof("no", "one")
    eventually(lambda: not holdings.entries(), 10)


def test_it_tells_whether_a_public_task_may_have_ended(
    bench: Bench, completion: Completion, holdings: Holdings, told: list[bool]
) -> None:
    completion.start()
    for task in (False, True):
        job_id = bench.commit(shards=2).about
        if task:
            bench.redis.hset(name(Key.JOB, job_id), "task", "{}")
        for entry in [item.entry for item in bench.take()]:
            looks = len(told)
            holdings.add(entry, 10)
            Work(entry, job_id, [pair(1)], 0.0, completion.put).put(0, 1.0)
            eventually(lambda looks=looks: len(told) > looks, 10)
    assert told == [False, False, False, True], "only the last shard of a task ends one"
    completion.release(["job_gone:0"])
    eventually(lambda: len(told) == 5, 10)
    assert told[-1], "what it cannot tell is worth a look"
