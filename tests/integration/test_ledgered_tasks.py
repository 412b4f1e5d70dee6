"""Public tasks sent through the ledger: nothing of them is lost, whatever dies in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError

from rerankq.errors import Overloaded
from rerankq.ledgered import job_of, ledger_at
from rerankq.settings import Settings
from rerankq.tasks import make_task
from scripts.localsystem import LocalSystem
from tests.conftest import StartSystem, close_app, eventually

QUERY = "how do I see which process uses a network port?"
DOCUMENTS = [
    "Knead the dough for ten minutes.",
    "ss lists the network ports with the process that uses each of them.",
]
CALL: dict[str, Any] = {"query": QUERY, "documents": DOCUMENTS}


@pytest.fixture(scope="module")
def system(start_system: StartSystem) -> LocalSystem:
    return start_system(lease_seconds="2", visibility_timeout="5", max_backlog="300")


@pytest.fixture(scope="module")
def rerank(system: LocalSystem) -> Iterator[Any]:
    task = make_task(Settings(redis_url=system.redis_url, max_backlog=300))
    yield task
    close_app(task.app)
    ledger_at(system.redis_url, None).close()


@pytest.fixture
def ledger(system: LocalSystem) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(system.redis_url) as ledger:
        yield ledger


@pytest.fixture
def no_worker(system: LocalSystem) -> Iterator[None]:
    """Nobody works during the test until it calls `restart`."""
    stop(system)
    yield
    restart(system)


def stop(system: LocalSystem) -> None:
    worker = system.child("worker-1").process
    assert worker is not None
    worker.kill()
    worker.wait()


def restart(system: LocalSystem) -> None:
    child = system.child("worker-1")
    if not child.alive:
        system.spawn(child)
        system._await(child)


def order(ranking: Any) -> list[int]:
    return [result["index"] for result in ranking["results"]]


def test_the_ranking_comes_back(rerank: Any) -> None:
    ranking = rerank.delay(**CALL, top_n=1, return_documents=True).get(timeout=30)
    assert order(ranking) == [1]
    assert ranking["results"][0]["document"] == {"text": DOCUMENTS[1]}
    assert ranking["usage"]["total_tokens"] > 0
    assert order(rerank.delay(QUERY, DOCUMENTS).get(timeout=30)) == [1, 0]


def test_groups_chords_chains_and_links(rerank: Any) -> None:
    calls = [rerank.s(query=QUERY, documents=[f"text {n}"] * (n + 1)) for n in range(8)]
    rankings = group(calls).apply_async().get(timeout=60)
    assert [len(ranking["results"]) for ranking in rankings] == list(range(1, 9))
    body = rerank.si(**CALL)
    assert order(chord(calls)(body).get(timeout=60)) == [1, 0]
    assert order(chain(calls[0], body, body).apply_async().get(timeout=60)) == [1, 0]
    failing = rerank.apply_async(kwargs=CALL, link=rerank.si(**CALL).set(task_id="linked"))
    assert order(failing.get(timeout=30)) == [1, 0]
    assert order(rerank.AsyncResult("linked").get(timeout=30)) == [1, 0]


def test_arguments_of_no_use_fail_where_the_result_is_looked_for(rerank: Any) -> None:
    with pytest.raises(ValueError, match="documents: 1001 given"):
        rerank.delay(QUERY, ["d"] * 1001).get(timeout=30)
    with pytest.raises(ValueError, match="query: 1"):
        rerank.delay("word " * 12_000, ["d"]).get(timeout=30)


@pytest.mark.usefixtures("no_worker")
def test_without_a_worker_it_waits_in_the_ledger_where_an_autoscaler_sees_it(
    rerank: Any, system: LocalSystem, ledger: redis.Redis
) -> None:
    results = [rerank.delay(**CALL) for _ in range(5)]
    assert ledger.zcard("rerankq:pending:bulk") == 5
    assert ledger.llen("rerankq.bulk") == 0
    assert rerank.apply_async(kwargs=CALL, task_id=results[0].id).id == results[0].id
    assert ledger.zcard("rerankq:pending:bulk") == 5, "the same task again is the same job"
    for _ in range(295):
        rerank.delay(**CALL)
    with pytest.raises(Overloaded):
        rerank.delay(**CALL)
    restart(system)
    assert all(order(result.get(timeout=60)) == [1, 0] for result in results)
    eventually(lambda: ledger.zcard("rerankq:pending:bulk") == 0, 60)


def test_a_nearly_full_redis_takes_no_more(rerank: Any, ledger: redis.Redis) -> None:
    used = ledger.info("memory")["used_memory"]  # type: ignore[index]
    ledger.config_set("maxmemory", int(used * 1.2))
    try:
        with pytest.raises(Overloaded, match="memory_full"):
            rerank.delay(**CALL)
    finally:
        ledger.config_set("maxmemory", "1gb")
    assert rerank.delay(**CALL).get(timeout=60)["results"]


def test_a_killed_worker_loses_none(rerank: Any, system: LocalSystem, ledger: redis.Redis) -> None:
    calls = [rerank.s(query=f"query {n}", documents=DOCUMENTS * 20) for n in range(40)]
    results = group(calls).apply_async()
    for _ in range(2):
        eventually(lambda: ledger.hlen("rerankq:owner") > 0, 30)
        stop(system)
        restart(system)
    assert [len(ranking["results"]) for ranking in results.get(timeout=100)] == [40] * 40
    eventually(lambda: not ledger.exists("rerankq:outbox:task"), 60)


def test_a_lost_message_is_published_again_and_answered_once_more(
    rerank: Any, ledger: redis.Redis
) -> None:
    result = rerank.delay(**CALL)
    first = result.get(timeout=30)
    eventually(lambda: not ledger.exists("rerankq:outbox:task"))
    # As if the message had been lost with the worker that took it, and no result been stored.
    result.forget()
    ledger.zadd("rerankq:outbox:task", {job_of(result.id, None): 1})
    assert rerank.AsyncResult(result.id).get(timeout=30) == first
    eventually(lambda: not ledger.exists("rerankq:outbox:task"))


def test_a_delayed_one_makes_nobody_start_anything(rerank: Any, ledger: redis.Redis) -> None:
    started = time.monotonic()
    result = rerank.apply_async(kwargs=CALL, countdown=3)
    assert ledger.zcard("rerankq:pending:bulk") == 0
    assert ledger.zcard("rerankq:scheduled") == 1
    assert order(result.get(timeout=30)) == [1, 0]
    assert time.monotonic() - started >= 3
    assert not ledger.exists("rerankq:scheduled")


def test_a_revoked_one_ends_as_celery_says(rerank: Any, ledger: redis.Redis) -> None:
    result = rerank.apply_async(kwargs=CALL, countdown=3)
    rerank.app.control.revoke(result.id, reply=True, timeout=5)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=30)
    eventually(lambda: not ledger.exists("rerankq:outbox:task"))


@pytest.mark.usefixtures("no_worker")
def test_one_that_expired_ends_as_celery_says(
    rerank: Any, system: LocalSystem, ledger: redis.Redis
) -> None:
    result = rerank.apply_async(kwargs=CALL, expires=1)
    eventually(lambda: ledger.zcard("rerankq:pending:bulk") == 0)
    restart(system)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=30)
    eventually(lambda: not ledger.exists("rerankq:outbox:task"))
