"""Two API processes behind one port: requests meet, metrics add up, each may die."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.__main__ import LONGEST_LAST_REQUEST_S
from api.front import STOP_S
from api.problems import STOPPING
from rerankq import JobStatus, Lane, Operator
from scripts.localsystem import LocalSystem, Start
from scripts.redis_server import free_port
from tests.conftest import ROOT, clean_environment, eventually

BODY = {"query": "who has it?", "documents": ["one", "two"]}
SUBMIT = {"method": "POST", "route": "/v1/jobs", "status": "202"}


@dataclass
class Replica:
    """The supervisor and its two processes."""

    system: LocalSystem

    @property
    def supervisor(self) -> psutil.Process:
        process = self.system.child("api").process
        assert process is not None
        return psutil.Process(process.pid)

    @property
    def processes(self) -> list[psutil.Process]:
        return self.supervisor.children()

    @contextlib.contextmanager
    def each(self) -> Iterator[tuple[httpx.Client, httpx.Client]]:
        """A connection to each: while one sleeps, whoever comes is the other's."""
        with (
            httpx.Client(base_url=self.system.url, timeout=30) as first,
            httpx.Client(base_url=self.system.url, timeout=30) as second,
        ):
            for client, asleep in zip((first, second), self.processes, strict=True):
                with stopped(asleep):
                    assert client.get("/livez").status_code == 200
            yield first, second

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """By name and labels; each is there once."""
        text = httpx.get(f"{self.system.url}/metrics").text
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        found = {(s.name, frozenset(s.labels.items())): s.value for s in samples}
        assert len(found) == len(samples)
        return found

    def count(self, name: str, **labels: str) -> float:
        return self.metrics().get((name, frozenset(labels.items())), 0.0)

    @property
    def folder(self) -> Path:
        """Where the processes keep what they tell of together."""
        maps = (entry.path for entry in self.processes[0].memory_maps())
        return next(Path(path).parent for path in maps if path.endswith(".db"))


@contextlib.contextmanager
def stopped(process: psutil.Process) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory, start_process: Start) -> Iterator[Replica]:
    folder = tmp_path_factory.mktemp("processes")
    system = LocalSystem(folder, api_processes=2, env=clean_environment(), start=start_process)
    system.start()
    replica = Replica(system)
    # The port answers when the first of them does.
    eventually(lambda: len(told(system)) == 2)
    yield replica
    system.stop()


def told(system: LocalSystem) -> list[str]:
    """The lines that say a process serves."""
    log = (system.folder / "logs" / "api.log").read_text()
    return re.findall("Application startup complete", log)


def test_equal_requests_with_two_processes_are_one_job(replica: Replica) -> None:
    with (
        Operator(replica.system.url) as operator,
        ThreadPoolExecutor(2) as pool,
        replica.each() as both,
    ):
        operator.pause(Lane.INTERACTIVE)
        try:
            asked = [pool.submit(post, http, "/v1/rerank", BODY) for http in both]
            eventually(lambda: replica.count("rerankq_http_requests_in_progress") == 3)
            assert operator.queue().backlog == 1
        finally:
            operator.resume(Lane.INTERACTIVE)
        one, other = (answer.result() for answer in asked)
    assert one["id"] == other["id"]
    assert one["results"] == other["results"]
    assert len(one["results"]) == 2


def test_a_job_of_one_is_waited_for_with_the_other(replica: Replica) -> None:
    with replica.each() as (first, second):
        for here, there in ((first, second), (second, first)):
            job = post(here, "/v1/jobs", BODY)
            done = there.get(f"/v1/jobs/{job['id']}", params={"wait": 20}).json()
            assert done["status"] == "succeeded"


def test_counts_add_up_and_survive_each_process_s_death(replica: Replica) -> None:
    jobs = {"lane": "interactive"}

    def counted() -> tuple[float, float, float]:
        return (
            replica.count("rerankq_http_requests_total", **SUBMIT),
            replica.count("rerankq_job_duration_seconds_count", **jobs),
            replica.count("rerankq_jobs_total", status="succeeded", **jobs),
        )

    submitted, ended, succeeded = counted()
    sent = 0
    for last in (False, False, True):  # the one that counts jobs is killed in one of the first two
        with replica.each() as both:
            for http in both * 5:
                job = post(http, "/v1/jobs", BODY)
                assert http.get(f"/v1/jobs/{job['id']}?wait=20").json()["status"] == "succeeded"
                sent += 1
        expected = (submitted + sent, ended + sent, succeeded + sent)
        eventually(lambda expected=expected: counted() == expected, 5)
        assert replica.count("rerankq_http_requests_in_progress") == 1, "the scrape itself"
        if last:
            break
        victim = replica.processes[0]
        before = len(told(replica.system))
        victim.kill()
        eventually(lambda before=before: len(told(replica.system)) > before)
        assert len(replica.processes) == 2
        assert victim not in replica.processes
        assert counted() == expected
    places = {path.stem.rpartition("_")[2] for path in replica.folder.glob("*.db")}
    assert places == {"0", "1"}, "who follows a dead one counts on in its files"


def test_a_process_that_dies_with_requests_leaves_none_in_progress(replica: Replica) -> None:
    with (
        Operator(replica.system.url) as operator,
        ThreadPoolExecutor(1) as pool,
        replica.each() as (first, second),
    ):
        operator.pause(Lane.INTERACTIVE)
        try:
            victim = holder(replica, first)
            lost = pool.submit(post, first, "/v1/rerank", BODY | {"query": "lost"})
            eventually(lambda: replica.count("rerankq_http_requests_in_progress") == 2)
            victim.kill()
            with pytest.raises(httpx.TransportError):
                lost.result()
            eventually(lambda: replica.count("rerankq_http_requests_in_progress") == 1)
            assert second.get("/livez").status_code == 200
        finally:
            operator.resume(Lane.INTERACTIVE)
            eventually(lambda: operator.queue().backlog == 0)


def test_uvloop_is_used(replica: Replica) -> None:
    def used() -> bool:
        return all(
            any("uvloop" in entry.path for entry in process.memory_maps())
            for process in replica.processes
        )

    eventually(used)  # one of them may have begun just now


def test_they_end_together(replica: Replica) -> None:
    """By SIGTERM; and without their supervisor, however that ended."""
    folder, processes = replica.folder, replica.processes
    child = replica.system.child("api")
    assert child.process is not None
    with waiters(replica) as (reranks, poll):
        began = time.monotonic()
        child.process.terminate()
        assert child.process.wait(15) == 0
        assert time.monotonic() - began < LONGEST_LAST_REQUEST_S + STOP_S
    for answer in (rerank.result() for rerank in reranks):
        assert (answer.status_code, answer.json()["code"]) == (503, "stopping")
        assert (answer.json()["message"], answer.headers["Retry-After"]) == (STOPPING.detail, "1")
    assert (poll.result().status_code, poll.result().json()["status"]) == (200, "queued")
    assert not any(process.is_running() for process in processes)
    assert not folder.exists()
    replica.system.spawn(child)
    eventually(child.ready)
    eventually(lambda: len(replica.processes) == 2)
    assert replica.count("rerankq_http_requests_total", **SUBMIT) == 0, "emptied"
    with Operator(replica.system.url) as operator:
        assert operator.queue().backlog == 1, "who was told so waits no more; the other's job does"
        operator.resume(Lane.INTERACTIVE)
        assert operator.wait(poll.result().json()["id"], 20).status is JobStatus.SUCCEEDED
    orphans = replica.processes
    child.process.kill()
    child.process.wait(10)
    eventually(lambda: not any(process.is_running() for process in orphans))


@contextlib.contextmanager
def waiters(
    replica: Replica,
) -> Iterator[tuple[list[Future[httpx.Response]], Future[httpx.Response]]]:
    """A synchronous request with each process, and a long poll; what they wait for is paused."""
    with Operator(replica.system.url) as operator:
        operator.pause(Lane.INTERACTIVE)
        job = operator.submit("polled", ["d"])
    with ThreadPoolExecutor(3) as pool, replica.each() as both:
        body = BODY | {"query": "the end"}
        reranks = [pool.submit(http.post, "/v1/rerank", json=body) for http in both]
        poll = pool.submit(both[0].get, f"/v1/jobs/{job.id}", params={"wait": 60})
        eventually(lambda: replica.count("rerankq_http_requests_in_progress") == 4)
        yield reranks, poll


def test_they_start_without_a_stdin(replica: Replica) -> None:
    """The socket they share had its number, and each ended with a traceback, for ever."""
    port = free_port()
    api = f"exec {sys.executable} -m api --workers 2 --port {port} 0<&-"
    env = clean_environment(
        RERANKQ_REDIS_URL=replica.system.redis_url,
        PROMETHEUS_MULTIPROC_DIR="/nowhere/at/all",  # theirs is another
    )
    with subprocess.Popen(["sh", "-c", api], cwd=ROOT, env=env) as process:
        try:
            eventually(lambda: answers(port) or process.poll() is not None)
            assert answers(port)
        finally:
            process.terminate()
    assert process.returncode == 0


def answers(port: int) -> bool:
    with contextlib.suppress(httpx.TransportError):  # the port waits before anybody answers
        return httpx.get(f"http://127.0.0.1:{port}/livez", timeout=5).status_code == 200
    return False


def post(http: httpx.Client, path: str, body: dict[str, Any]) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


def holder(replica: Replica, http: httpx.Client) -> psutil.Process:
    """The process that has the client's connection."""
    stream = http.get("/livez").extensions["network_stream"]
    port = stream.get_extra_info("client_addr")[1]
    return next(
        process
        for process in replica.processes
        for connection in process.net_connections("tcp")
        if connection.raddr and connection.raddr.port == port
    )
