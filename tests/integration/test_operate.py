"""Operators' verbs on a running system, through the client and the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from rerankq import Client, Forbidden, JobStatus, Lane, NotFound, Operator
from rerankq.errors import APIError
from rerankq.ledger import calls
from rerankq.ledger.connection import connect
from rerankq.ledger.store import Ledger
from rerankq.schema import Problem
from scripts.localsystem import LocalSystem
from tests.conftest import StartSystem, clean_environment, eventually

KEYS = {"alice": "a-key-of-alice", "bob": "a-key-of-bob"}


@pytest.fixture(scope="module")
def system(start_system: StartSystem) -> LocalSystem:
    keys = ",".join(f"{name} {key}" for name, key in KEYS.items())
    return start_system(supervised=True, api_keys=keys, operators="alice")


@pytest.fixture
def alice(system: LocalSystem) -> Iterator[Operator]:
    with Operator(system.url, api_key=KEYS["alice"]) as alice:
        yield alice


def cli(system: LocalSystem, *args: str, stdin: str = "") -> tuple[int, str, str]:
    env = clean_environment(RERANKQ_URL=system.url, RERANKQ_API_KEY=KEYS["alice"])
    done = subprocess.run(
        [sys.executable, "-m", "rerankq.cli", *args],
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_paused_lane_waits_and_the_other_does_not(system: LocalSystem, alice: Operator) -> None:
    assert alice.pause(Lane.BULK).paused
    try:
        waits = alice.submit("q", ["d"], lane="bulk")
        assert alice.rerank("q", ["d"], timeout=30)
        assert alice.get(waits.id, wait=2).status is JobStatus.QUEUED
        assert alice.queue().lanes["bulk"].paused
        assert "paused" in cli(system, "queue")[1]
    finally:
        code, said, _ = cli(system, "resume", "bulk")
    assert (code, said.split(":")[0]) == (0, "bulk is open")
    assert alice.wait(waits.id, 30).status is JobStatus.SUCCEEDED


def test_a_purge_asks_first(system: LocalSystem, alice: Operator) -> None:
    assert cli(system, "pause", "bulk")[0] == 0
    try:
        with Client(system.url, api_key=KEYS["bob"]) as bob:
            jobs = [bob.submit("q", ["d"], lane="bulk").id for _ in range(3)]
            path = f"{system.url}/v1/lanes/bulk/purge"
            bearer = {"Authorization": f"Bearer {KEYS['alice']}"}
            unsure = httpx.post(path, headers=bearer)
            assert (unsure.status_code, unsure.json()["code"]) == (422, "confirmation_required")
            assert "3 open shards" in unsure.json()["detail"]
            code, _, said = cli(system, "purge", "bulk", stdin="no\n")
            assert (code, "nothing was cancelled" in said) == (1, True)
            assert bob.get(jobs[0]).status is JobStatus.QUEUED
            code, out, said = cli(system, "purge", "bulk", stdin="bulk\n")
            assert (code, out) == (0, "3 jobs cancelled\n")
            assert unsure.json()["detail"] in said
            assert {bob.get(job).status for job in jobs} == {JobStatus.CANCELLED}
            assert cli(system, "purge", "bulk", "--yes", "--json")[1].strip() == (
                '{"lane":"bulk","cancelled":0}'
            )
    finally:
        alice.resume(Lane.BULK)


def test_a_failed_job_is_retried_as_a_new_one(system: LocalSystem, alice: Operator) -> None:
    alice.pause(Lane.BULK)
    failed = alice.submit("q", ["d"], lane="bulk")
    problem = Problem(title="t", status=500, code="scoring_failed", detail="d")
    with connect(system.redis_url) as redis:
        Ledger(redis).run(calls.finish(failed.id, JobStatus.FAILED, problem))
    failed = alice.get(failed.id)
    alice.resume(Lane.BULK)
    code, out, _ = cli(system, "retry", failed.id)
    new_id = out.split()[0]
    assert code == 0
    assert new_id != failed.id
    assert alice.retry(failed.id).id == new_id, "a repetition makes no third job"
    assert alice.wait(new_id, 60).status is JobStatus.SUCCEEDED
    assert alice.get(failed.id) == failed
    done = alice.submit("q", ["d"])
    alice.wait(done.id, 30)
    with pytest.raises(APIError, match="not_failed"):
        alice.retry(done.id)
    with Client(system.url, api_key=KEYS["bob"]) as bob, pytest.raises(NotFound):
        bob.retry(failed.id)


def test_a_callers_fault_is_not_retried(alice: Operator) -> None:
    failed = alice.wait(alice.submit("word " * 12_000, ["d"]).id, 60)
    assert failed.status is JobStatus.FAILED
    with pytest.raises(APIError, match=r"not_kept.*submit it again"):
        alice.retry(failed.id)


def test_only_operators_may(system: LocalSystem) -> None:
    with Operator(system.url, api_key=KEYS["bob"]) as bob:
        refused = (
            lambda: bob.pause(Lane.BULK),
            lambda: bob.resume(Lane.BULK),
            lambda: bob.purge(Lane.BULK),
            lambda: bob.workers(),
            lambda: bob.drain("worker_0"),
        )
        for call in refused:
            with pytest.raises(Forbidden, match="operator_required"):
                call()


def test_a_drained_worker_hands_back_and_exits(system: LocalSystem, alice: Operator) -> None:
    (worker,) = alice.workers()
    assert worker.id in cli(system, "workers", "--json")[1]
    process = system.child("worker-1").process
    assert process is not None
    assert (worker.pid, worker.state) == (process.pid, "ready")
    job = alice.submit("q", [f"a document of number {n}" for n in range(600)], lane="bulk")
    eventually(lambda: alice.get(job.id).progress.scored > 0, 60)
    assert cli(system, "drain", worker.id)[0] == 0
    assert process.wait(20) == 0
    eventually(lambda: [w.id for w in alice.workers()] not in ([], [worker.id]), 60)
    assert os.path.exists(f"/proc/{alice.workers()[0].pid}")
    done = alice.wait(job.id, 90)
    assert done.status is JobStatus.SUCCEEDED
    assert done.progress.scored == done.progress.total
    with pytest.raises(NotFound):
        alice.drain(worker.id)
