"""Equal synchronous requests wait for one job, which ends when the last of them has gone."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import redis

from rerankq import JobStatus, Lane, Operator
from rerankq.ledger.keys import Key, name
from scripts.localsystem import LocalSystem
from tests.conftest import eventually

BODY = {"query": "equal requests", "documents": ["one", "two"]}


@pytest.fixture
def paused(demo_system: LocalSystem) -> Iterator[Operator]:
    """Interactive jobs wait, so that requests meet."""
    with Operator(demo_system.url) as operator:
        operator.pause(Lane.INTERACTIVE)
        yield operator
        operator.resume(Lane.INTERACTIVE)


def post(system: LocalSystem, body: Any, timeout: float = 30.0) -> Any:
    return httpx.post(f"{system.url}/v1/rerank", json=body, timeout=timeout).json()


def test_equal_requests_are_one_job(demo_system: LocalSystem, paused: Operator) -> None:
    with ThreadPoolExecutor(3) as pool:
        equal = [pool.submit(post, demo_system, BODY) for _ in range(2)]
        other = pool.submit(post, demo_system, BODY | {"top_n": 1})
        eventually(lambda: paused.queue().backlog == 2, 10)
        paused.resume(Lane.INTERACTIVE)
        first, second = (each.result() for each in equal)
        assert first["id"] == second["id"] != other.result()["id"]
        assert first["results"] == second["results"]
    assert post(demo_system, BODY)["id"] == first["id"], "seconds later it is still the same"


def test_the_job_is_cancelled_when_the_last_has_gone(
    demo_system: LocalSystem, paused: Operator
) -> None:
    body = BODY | {"query": "nobody waits"}
    with ThreadPoolExecutor(2) as pool:
        patient = pool.submit(pytest.raises, httpx.ReadTimeout, post, demo_system, body, 6.0)
        eventually(lambda: paused.queue().backlog == 1, 10)
        job_id = next(paused.jobs(JobStatus.QUEUED)).id
        with pytest.raises(httpx.ReadTimeout):
            post(demo_system, body, timeout=1.0)
        # Longer than the grace of the one that has gone, while the other still waits.
        assert paused.get(job_id, wait=3.0).status is JobStatus.QUEUED
        patient.result()
        assert paused.wait(job_id, 10).status is JobStatus.CANCELLED
    assert paused.queue().backlog == 0


def asked(system: LocalSystem, request: dict[str, Any]) -> socket.socket:
    """A caller that has sent its request and waits."""
    where = urlsplit(system.url)
    caller = socket.create_connection((where.hostname, where.port))
    body = json.dumps(request).encode()
    head = "POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    caller.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return caller


def request_of(number: int) -> dict[str, Any]:
    return {"query": f"caller {number}", "documents": [f"document {n}" for n in range(10)]}


def test_the_texts_of_callers_who_wait_are_not_held(
    demo_system: LocalSystem, paused: Operator
) -> None:
    """Each was, twice, by the framework's own variables."""
    process = demo_system.child("api").process
    assert process is not None
    api, memory, callers = psutil.Process(process.pid), [], []
    for n in range(1, 41):
        body = {"query": f"large {n}", "documents": [f"{n} word " * 100_000]}
        callers.append(asked(demo_system, body))
        eventually(lambda n=n: paused.queue().backlog == n)
        memory.append(api.memory_info().rss)
    for caller in callers:
        caller.close()
    eventually(lambda: paused.queue().backlog == 0)
    assert memory[-1] - memory[4] < 20e6


def pairs_scored(system: LocalSystem) -> int:
    text = httpx.get(f"{system.child('worker-1').probe}/metrics").text
    found = re.search(r"^rerankq_pairs_scored_total (\S+)", text, re.MULTILINE)
    assert found
    return int(float(found[1]))


def test_a_hundred_callers_that_go_cost_nothing_but_one_that_comes_back(
    demo_system: LocalSystem,
) -> None:
    """Their jobs wait behind a batch on the device, which is held there for as long as they do."""
    worker = demo_system.child("worker-1").process
    assert worker is not None
    before = pairs_scored(demo_system)
    with (
        Operator(demo_system.url) as operator,
        redis.Redis.from_url(demo_system.redis_url) as ledger,
        ThreadPoolExecutor(1) as pool,
    ):

        def cancelled() -> int:
            return int(ledger.hget(name(Key.COUNTS), "cancelled interactive") or 0)

        large = operator.submit("busy", [f"document {n}" for n in range(200)], lane="bulk")
        eventually(lambda: operator.queue().lanes[Lane.BULK].in_flight > 0)
        worker.send_signal(signal.SIGSTOP)
        try:
            gone = cancelled()
            callers = [asked(demo_system, request_of(n)) for n in range(100)]
            waiting = Lane.INTERACTIVE
            eventually(lambda: operator.queue().lanes[waiting].waiting == 100)
            for caller in callers:
                caller.close()
            # The last one's, since each can be joined for five seconds only.
            back = pool.submit(post, demo_system, request_of(99))
            eventually(lambda: cancelled() == gone + 99, 10)
            assert operator.queue().lanes[waiting].waiting == 1
        finally:
            worker.send_signal(signal.SIGCONT)
        assert len(back.result()["results"]) == 10
        assert operator.wait(large.id, 30).status is JobStatus.SUCCEEDED
        eventually(lambda: pairs_scored(demo_system) >= before + 200 + 10)
        assert pairs_scored(demo_system) == before + 200 + 10
        assert cancelled() == gone + 99
