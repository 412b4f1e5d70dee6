"""Results on their way back: none is lost while Redis refuses, none holds up the others."""

from collections.abc import Iterator

import pytest
import redis

from rerankq.ledger.connection import connect
from rerankq.ledger.keys import Key, name
from rerankq.ledger.store import Ledger
from tests.conftest import eventually
from tests.unit.test_coalescer import HeldEngine, pair
from worker.completion import Completion
from worker.holdings import Holdings
from worker.room import Room
from worker.work import Work


@pytest.fixture
def holdings() -> Holdings:
    return Holdings(Room(1000, reserve=0))


@pytest.fixture
def completion(redis_url: str, holdings: Holdings) -> Iterator[Completion]:
    with connect(redis_url) as client:
        completion = Completion(Ledger(client), holdings, HeldEngine().profile, "w")
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
