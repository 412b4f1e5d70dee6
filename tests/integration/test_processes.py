"""The processes themselves: readiness, drain, death, restart, a light API."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from rerankq import Client, JobStatus
from scripts.localsystem import LocalSystem
from scripts.redis_server import free_port
from tests.conftest import ROOT, CeleryAt, StartSystem, clean_environment, eventually

MANY = [f"a document about number {n} and its neighbours" for n in range(4_000)]


LARGEST_BATCH = 2_048 // 20  # pairs of the above: the token budget by what a pair does not share


def status(url: str) -> int:
    try:
        return httpx.get(url, timeout=2).status_code
    except httpx.TransportError:
        return 0


def test_a_worker_is_live_before_it_is_ready_and_takes_nothing_until_then(
    empty_redis: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    port = free_port()
    env = clean_environment(
        RERANKQ_REDIS_URL=redis_url,
        RERANKQ_MODEL="models/demo",
        RERANKQ_METRICS_PORT=str(port),
        PROMETHEUS_MULTIPROC_DIR="/nowhere/at/all",  # somebody else's, and not used
    )
    log = (tmp_path / "log").open("w")
    worker = subprocess.Popen(
        [sys.executable, "-m", "worker"], cwd=ROOT, env=env, stdout=log, stderr=log
    )
    try:
        eventually(lambda: status(f"http://127.0.0.1:{port}/livez") == 200)
        assert status(f"http://127.0.0.1:{port}/readyz") == 503
        assert not empty_redis.exists("rerankq:workers")
        eventually(lambda: status(f"http://127.0.0.1:{port}/readyz") == 200)
        assert empty_redis.zcard("rerankq:workers") == 1
        metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'rerankq_model_info{device="cpu"' in metrics
        assert status(f"http://127.0.0.1:{port}/nothing") == 404
    finally:
        worker.terminate()
        assert worker.wait(20) == 0
        log.close()
    assert empty_redis.zcard("rerankq:workers") == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    said = [line["message"] for line in lines]
    assert "worker: Warm shutdown (MainProcess)" in said  # which Celery writes by itself
    assert {"worker ready", "drained"} <= set(said)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RERANKQ_DTYPE": "int3"}, "RERANKQ_DTYPE"),
        (
            {"RERANKQ_MODEL": "/nowhere/at/all"},
            "RERANKQ_MODEL='/nowhere/at/all': there is no such folder",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(
    variables: dict[str, str], words: str, redis_url: str
) -> None:
    env = clean_environment(RERANKQ_REDIS_URL=redis_url, RERANKQ_METRICS_PORT="0", **variables)
    said = subprocess.run(
        [sys.executable, "-m", "worker"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.returncode == 2
    lines = [json.loads(line) for line in said.stderr.splitlines()]
    assert lines[-1]["message"].startswith(words)
    assert lines[-1]["level"] == "critical"
    assert "Traceback" not in said.stderr


@pytest.mark.timeout(300)
def test_sigterm_under_load_hands_everything_back(
    start_system: StartSystem, celery_at: CeleryAt
) -> None:
    """Large shards on the device, small ones waiting to be tokenized, public tasks waiting."""
    system = start_system(workers=2)
    app = celery_at(system.redis_url)
    kwargs = {"query": "drain", "documents": MANY[:50]}
    with Client(system.url) as client, redis.Redis.from_url(system.redis_url) as ledger:
        jobs = [client.submit("drain", MANY), *(client.submit("d", MANY[:20]) for _ in range(100))]
        tasks = [
            app.send_task("rerankq.rerank", kwargs=kwargs, queue="rerankq.bulk") for _ in range(60)
        ]
        eventually(lambda: client.get(jobs[0].id).progress.scored > 0, 60)
        first = system.child("worker-1").process
        assert first is not None
        first.terminate()
        assert first.wait(20) == 0
        alive = set(ledger.zrange("rerankq:workers", 0, -1))
        assert len(alive) == 1
        assert set(ledger.hgetall("rerankq:owner").values()) <= alive
        assert not ledger.exists("rerankq:trouble"), "a drain is no loss"
        for job in jobs:
            done = client.wait(job.id, 200)
            assert done.status is JobStatus.SUCCEEDED
            assert done.progress.scored == done.progress.total
        assert all(len(task.get(timeout=100)["results"]) == 50 for task in tasks)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGQUIT,)],
    ids=["TERM twice", "QUIT"],
)
def test_an_impatient_stop_loses_nothing_either(
    signals: tuple[signal.Signals, ...], start_system: StartSystem, celery_at: CeleryAt
) -> None:
    system = start_system()
    app = celery_at(system.redis_url)
    kwargs = {"query": "drain", "documents": MANY[:50]}
    with Client(system.url) as client, redis.Redis.from_url(system.redis_url) as ledger:
        jobs = [client.submit("drain", MANY[:500]) for _ in range(2)]
        tasks = [
            app.send_task("rerankq.rerank", kwargs=kwargs, queue="rerankq.bulk") for _ in range(10)
        ]
        eventually(lambda: client.get(jobs[0].id).progress.scored > 0, 60)
        child = system.child("worker-1")
        assert child.process is not None
        for number in signals:
            child.process.send_signal(number)
            eventually(lambda: status(f"{child.probe}/readyz") != 200)
        child.process.wait(20)
        assert not ledger.exists("rerankq:owner"), "handed back at once"
        assert not ledger.exists("rerankq:trouble"), "a stop is no loss"
        system.spawn(child)
        for job in jobs:
            assert client.wait(job.id, 100).status is JobStatus.SUCCEEDED
        assert all(len(task.get(timeout=100)["results"]) == 50 for task in tasks)


@pytest.mark.timeout(180)
def test_public_tasks_held_for_long_are_renewed_and_scored_once(
    start_system: StartSystem, celery_at: CeleryAt
) -> None:
    system = start_system(workers=2, visibility_timeout="5")
    app = celery_at(system.redis_url)
    kwargs = {"query": "long", "documents": [f"{n} {'words ' * 70}" for n in range(300)]}
    sent, count = 0, 4
    while True:
        # All are delivered at once and wait their turn, so the last is held for the whole round.
        started = time.monotonic()
        tasks = [
            app.send_task("rerankq.rerank", kwargs=kwargs, queue="rerankq.bulk")
            for _ in range(count)
        ]
        sent += count
        assert all(len(task.get(timeout=100)["results"]) == 300 for task in tasks)
        if (
            time.monotonic() - started > 12
        ):  # the time-out, and the interval at which it is looked at
            break
        count *= 2  # a fast machine: held for less, it would prove nothing
    pairs = [pairs_scored(system, name) for name in ("worker-1", "worker-2")]
    assert sum(pairs) == 300 * sent, pairs


def pairs_scored(system: LocalSystem, worker: str) -> int:
    text = httpx.get(f"{system.child(worker).probe}/metrics").text
    return int(float(re.search(r"^rerankq_pairs_scored_total (\S+)", text, re.MULTILINE)[1]))  # type: ignore[index]


@pytest.mark.timeout(180)
def test_a_worker_killed_alone_leaves_its_work_to_the_next(start_system: StartSystem) -> None:
    """With the lease that is the default; meanwhile an autoscaler must see what is open."""
    system = start_system()
    worker = system.child("worker-1")
    with Client(system.url) as client, redis.Redis.from_url(system.redis_url) as ledger:
        job = client.submit("kill", MANY[:800])
        eventually(lambda: 0 < client.get(job.id).progress.scored < 400, 60)
        assert worker.process is not None
        worker.process.kill()
        worker.process.wait(10)
        assert ledger.zcard("rerankq:lease") > 0, "it held nothing: that proves nothing"
        system.spawn(worker)
        eventually(worker.ready, 60)
        began = time.monotonic()
        while not (now := client.get(job.id)).status.final:
            # In this order: what was open before the job was not final cannot have been nothing.
            opened = ledger.zcard("rerankq:pending:interactive")
            assert opened > 0 or client.get(job.id).status.final
            assert time.monotonic() - began < 30
            time.sleep(0.01)
        assert now.status is JobStatus.SUCCEEDED
        assert sorted(r.index for r in client.get(job.id).results or []) == list(range(800))


def test_nothing_of_a_cancelled_job_is_scored_any_more(start_system: StartSystem) -> None:
    system = start_system()
    with Client(system.url) as client:
        job = client.submit("cancel", MANY)
        eventually(lambda: client.get(job.id).progress.scored > 0, 60)
        assert client.cancel(job.id).status is JobStatus.CANCELLED
        before = pairs_scored(system, "worker-1")
        assert client.queue().backlog == 0
        assert client.queue().backlog_tokens == 0
        started = time.monotonic()
        assert client.rerank("after", ["it"], timeout=30)
        assert time.monotonic() - started < 10
        # The batch on the device may end; the one formed ahead of it is never launched.
        scored = pairs_scored(system, "worker-1")
        assert scored <= before + LARGEST_BATCH + 1
        assert client.rerank("again", ["it"], timeout=30)
        assert pairs_scored(system, "worker-1") == scored + 1


def test_redis_away_is_503_and_its_return_is_noticed(start_system: StartSystem) -> None:
    system = start_system()
    server = system.child("redis").process
    assert server is not None
    with httpx.Client(base_url=system.url, timeout=20) as http, Client(system.url) as client:
        kept = client.submit("kept", ["d"], lane="bulk")
        client.wait(kept.id, 30)
        server.send_signal(signal.SIGSTOP)
        try:
            refused = http.post("/v1/jobs", json={"query": "q", "documents": ["d"]})
            assert refused.status_code == 503
            assert refused.headers["Retry-After"]
            assert refused.json()["code"] == "queue_unavailable"
            assert http.get("/livez").status_code == 200
            assert http.get("/readyz").status_code == 503
            assert http.get("/health").json()["status"] == "down"
            assert http.get("/metrics").status_code == 200
        finally:
            server.send_signal(signal.SIGCONT)
        assert client.get(kept.id).status is JobStatus.SUCCEEDED
        assert client.rerank("again", ["d", "e"], timeout=60)


def test_a_demoted_redis_is_503_too_and_its_worker_ends_for_a_fresh_one(
    start_system: StartSystem,
) -> None:
    """As in a failover. Celery gives up on it, so the work goes back and the process ends."""
    system = start_system()
    body = {"query": "q", "documents": ["d"]}
    with redis.Redis.from_url(system.redis_url) as direct:
        direct.replicaof("127.0.0.1", "1")
        demoted = httpx.post(f"{system.url}/v1/jobs", json=body)
        worker = system.child("worker-1").process
        assert worker is not None
        assert worker.wait(30) != 0
        direct.replicaof("no", "one")
    assert (demoted.status_code, demoted.json()["code"]) == (503, "queue_unavailable")
    assert httpx.post(f"{system.url}/v1/jobs", json=body).status_code == 202


def test_the_api_starts_in_two_seconds_without_torch(redis_url: str, tmp_path: Path) -> None:
    """Where importing torch, transformers or numpy is an error, as if they were not installed."""
    for missing in ("torch", "transformers", "numpy", "accelerate"):
        (tmp_path / f"{missing}.py").write_text("raise ImportError('not installed here')\n")
    port = free_port()
    env = clean_environment(RERANKQ_REDIS_URL=redis_url, PYTHONPATH=str(tmp_path))
    seconds = []
    for _ in range(3):
        line = [sys.executable, "-m", "api", "--port", str(port)]
        process = subprocess.Popen(line, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: status(f"http://127.0.0.1:{port}/readyz") == 200)
            times = psutil.Process(process.pid).cpu_times()
            seconds.append(times.user + times.system)
        finally:
            process.terminate()
            process.wait(10)
    # Of processor time, so that another process on the machine does not fail it.
    assert min(seconds) < 2, seconds


def test_a_port_in_use_ends_the_api_at_once(redis_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = [sys.executable, "-m", "api", "--port", str(taken.getsockname()[1])]
        env = clean_environment(RERANKQ_REDIS_URL=redis_url)
        said = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30)
    assert said.returncode == 3
    assert "address already in use" in said.stderr


def test_every_process_ends_cleanly(start_system: StartSystem) -> None:
    system: LocalSystem = start_system()
    processes = [child.process for child in system.children]
    system.stop()
    assert [process.returncode for process in processes if process] == [0, 0, 0]
