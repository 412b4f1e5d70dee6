"""Equal synchronous requests wait for one job, which ends when the last of them has gone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from rerankq import JobStatus, Lane, Operator
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
