"""What every test may use: a Redis of its own, and whole systems of real processes."""

from __future__ import annotations

import gc
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from celery import Celery
from hypothesis import settings

import worker.engine  # noqa: F401 - from now on its variables are there, whatever is loaded when
from rerankq import Client
from scripts.localsystem import LocalSystem, Start, execute
from scripts.redis_server import answers, command, find_server, free_port
from tests.fork_server import ForkServer

ROOT = Path(__file__).resolve().parent.parent

# How long an example takes says more of the machine than of the code; tests have their time-outs.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def eventually(check: Callable[[], object], seconds: float = 30.0) -> None:
    """Await a condition; the test fails with its last value."""
    deadline = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {value!r}"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server; a machine without one fails here instead of skipping."""
    port = free_port()
    folder = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        command(find_server(), folder, port, appendfsync="no"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"redis://127.0.0.1:{port}/0"
    try:
        eventually(lambda: answers(url))
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def empty_redis(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


StartSystem = Callable[..., LocalSystem]


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without any RERANKQ_* of the developer's own."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RERANKQ_")}
    # Measuring the token budget would cost every worker that a test starts a second.
    ours = {"RERANKQ_LOG_FORMAT": "json", "RERANKQ_TOKEN_BUDGET": "2048"}
    return inherited | ours | variables


@pytest.fixture(scope="session")
def start_process() -> Iterator[Start]:
    """How a system starts its processes here: workers as forks of one that has loaded torch."""
    server = ForkServer(execute)
    yield server.start
    server.close()


@pytest.fixture(scope="module")
def start_system(
    tmp_path_factory: pytest.TempPathFactory, start_process: Start
) -> Iterator[StartSystem]:
    """Starts a system with these RERANKQ_* variables, without the prefix; stopped afterwards.

    Supervised: what dies is restarted, as Kubernetes would.
    """
    systems: list[LocalSystem] = []

    def start(
        *,
        workers: int = 1,
        worker_module: str = "worker",
        supervised: bool = False,
        **variables: str,
    ) -> LocalSystem:
        env = clean_environment(**{f"RERANKQ_{k.upper()}": v for k, v in variables.items()})
        folder = tmp_path_factory.mktemp("system")
        system = LocalSystem(
            folder, workers=workers, env=env, worker_module=worker_module, start=start_process
        )
        system.start()
        systems.append(system)
        if supervised:
            threading.Thread(target=system.watch, daemon=True).start()
        return system

    yield start
    for system in systems:
        system.stop()


@pytest.fixture(scope="session")
def demo_system(
    tmp_path_factory: pytest.TempPathFactory, start_process: Start
) -> Iterator[LocalSystem]:
    """One system with the demo model for all tests that only talk to it."""
    folder = tmp_path_factory.mktemp("demo")
    system = LocalSystem(folder, env=clean_environment(), start=start_process)
    system.start()
    yield system
    system.stop()


CeleryAt = Callable[[str], Celery]


@pytest.fixture(scope="module")
def celery_at(start_system: StartSystem) -> Iterator[CeleryAt]:
    """Apps that know nothing of this project, on the Redis of a URL; closed before that stops."""
    apps: list[Celery] = []

    def make(url: str) -> Celery:
        apps.append(Celery(broker=url, backend=url))
        return apps[-1]

    yield make
    for app in apps:
        close_app(app)


def close_app(app: Celery) -> None:
    """Close what an app and its results are connected by.

    Results talk to their Redis when they are collected; once it is gone, for 20 s.
    """
    gc.collect()
    consumer = app.backend.result_consumer
    if consumer._pubsub is not None:
        consumer.stop()
    app.backend.client.close()
    app.close()


@pytest.fixture
def client(demo_system: LocalSystem) -> Iterator[Client]:
    with Client(demo_system.url, retry_for=5) as client:
        yield client
