"""A worker's end, whenever it is told: before Celery is up, with Redis gone, with Celery stuck."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis

from scripts.redis_server import answers, command, find_server, free_port
from tests.conftest import ROOT, clean_environment, eventually

TERMINATED_IN_A_DEL = """
import os, signal, sys
from worker import __main__ as program

class Doomed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(100))  # the handler runs in here

make_app = program.make_app
def make_app_and_be_told(*args, **kwargs):
    Doomed()
    return make_app(*args, **kwargs)

program.make_app = make_app_and_be_told
sys.exit(program.main())
"""


def test_a_sigterm_just_before_celerys_handlers_is_not_lost(
    empty_redis: redis.Redis, redis_url: str
) -> None:
    said = run(TERMINATED_IN_A_DEL, redis_url)
    assert said.returncode == 0, said.stderr
    assert '"drained"' in said.stderr
    assert empty_redis.zcard("rerankq:workers") == 0


REDIS_GOES_AS_CELERY_STARTS = """
import os, signal, sys, time
from celery.worker.consumer import control, events, tasks
from scripts.redis_server import answers
from worker import __main__ as program

def and_be_told(step):
    start = step.start
    def start_and_be_told(self, consumer):
        start(self, consumer)
        os.kill(int(os.environ["REDIS"]), signal.SIGKILL)
        while answers(os.environ["RERANKQ_REDIS_URL"]):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
    step.start = start_and_be_told

# Whichever it starts with once it is connected: some are only there by our settings.
for step in events.Events, control.Control, tasks.Tasks:
    and_be_told(step)
program.CELERY_ENDS_WITHIN_S = 20
sys.exit(program.main())
"""


def test_a_sigterm_ends_it_though_redis_goes_as_celery_starts(tmp_path: Path) -> None:
    """As when a whole machine is told to end at once."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    line = command(find_server(), tmp_path, port)
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: answers(url))
            said = run(REDIS_GOES_AS_CELERY_STARTS, url, REDIS=str(server.pid))
        finally:
            server.kill()
    assert said.returncode == 0, said.stderr
    assert '"drained"' in said.stderr
    assert "ending although" not in said.stderr


CELERY_DOES_NOT_END = """
import os, signal, sys, threading
from celery import signals
from worker import __main__ as program

@signals.worker_ready.connect
def stick(**_):
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()

program.CELERY_ENDS_WITHIN_S = 0.5
sys.exit(program.main())
"""


def test_it_ends_though_celery_does_not(empty_redis: redis.Redis, redis_url: str) -> None:
    said = run(CELERY_DOES_NOT_END, redis_url)
    assert said.returncode == 0, said.stderr
    assert '"drained"' in said.stderr
    assert "ending although Celery does not" in said.stderr
    assert empty_redis.zcard("rerankq:workers") == 0


DRAIN_FAILS = """
from worker import completion

def stop(self):
    raise RuntimeError("of this test")

completion.Completion.stop = stop
"""


def test_it_ends_though_its_drain_fails_and_celery_does_not(
    empty_redis: redis.Redis, redis_url: str
) -> None:
    said = run(DRAIN_FAILS + CELERY_DOES_NOT_END, redis_url)
    assert said.returncode == 70, said.stderr
    assert '"not drained"' in said.stderr
    assert "of this test" in said.stderr
    empty_redis.flushall()  # others would find it among the workers


def run(program: str, redis_url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = clean_environment(
        RERANKQ_REDIS_URL=redis_url,
        RERANKQ_MODEL="models/demo",
        RERANKQ_METRICS_PORT="0",
        **variables,
    )
    line = [sys.executable, "-c", program]
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("program", ["worker", "api"])
def test_a_sigterm_during_the_imports_ends_it(program: str) -> None:
    """By a handler: a container's first process would not be ended by the signal itself."""
    line = [sys.executable, "-X", "importtime", "-m", program]
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(said.split("|")[-1].strip() == "pydantic.errors" for said in process.stderr)
        process.terminate()
        process.stderr.read()
    assert process.returncode == 0
