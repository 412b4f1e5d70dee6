"""A worker that was forked for the tests is what `python -m` would have started."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.localsystem import Start, execute
from tests.conftest import ROOT, clean_environment, eventually
from tests.fork_server import POSSIBLE, Fork, ForkServer

COMMAND = [sys.executable, "-m", "tests.about_itself"]
PR_GET_CHILD_SUBREAPER = 37

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="every process is executed here")


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    """One that has loaded next to nothing."""
    server = ForkServer(execute, load="json")
    yield server
    server.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def begin(start: Start, log: Path, ends: str, **variables: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return start(COMMAND, clean_environment(RERANKQ_ENDS=ends, **variables), output)


def told(log: Path) -> dict[str, Any]:
    eventually(lambda: log.exists() and log.read_text().count("\n"))
    about: dict[str, Any] = json.loads(log.read_text().splitlines()[0])
    return about


def test_a_fork_differs_in_what_is_loaded_alone(start_process: Start, log: Path) -> None:
    forked = begin(start_process, log, "0")
    assert isinstance(forked, Fork)
    assert forked.wait(10) == 0
    about_fork = told(log)
    assert begin(execute, log, "0").wait(10) == 0
    about_executed = told(log)
    assert about_fork.pop("loaded") == ["torch", "transformers"]
    assert about_executed.pop("loaded") == []
    assert about_fork == about_executed
    assert about_fork["parent"] == os.getpid()
    assert about_fork["threads"] == 1
    assert about_fork["told at its parent's death"] == signal.SIGTERM


@pytest.mark.parametrize(("ends", "code"), [("0", 0), ("3", 3), ("failing", 1)])
def test_its_exit_code_is_its_own(server: ForkServer, log: Path, ends: str, code: int) -> None:
    process = begin(server.start, log, ends)
    assert process.wait(10) == process.poll() == process.returncode == code
    assert ("RuntimeError: as it was told to" in log.read_text()) == (ends == "failing")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_it_and_end_it(server: ForkServer, log: Path, number: signal.Signals) -> None:
    process = begin(server.start, log, "waiting")
    told(log)
    assert process.poll() is None
    process.send_signal(signal.SIGSTOP)
    seen = psutil.Process(process.pid)
    eventually(lambda: seen.status() == psutil.STATUS_STOPPED)
    process.send_signal(signal.SIGCONT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.1)
    process.send_signal(number)
    assert process.wait(10) == -number
    assert not psutil.pid_exists(process.pid)


def test_another_variable_that_is_read_while_loading_is_read(server: ForkServer, log: Path) -> None:
    process = begin(server.start, log, "0", OMP_NUM_THREADS="1")
    assert not isinstance(process, Fork)
    assert process.wait(10) == 0
    assert told(log)["environment"]["OMP_NUM_THREADS"] == "1"


def test_arguments_and_descriptors_are_handed_on(server: ForkServer, log: Path) -> None:
    environment = clean_environment(RERANKQ_ENDS="0")
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "wb"), log.open("wb") as output:
        for command, kept in ((COMMAND, (writing,)), ([*COMMAND, "more"], ())):
            process = server.start(command, environment, output, kept)
            assert not isinstance(process, Fork)
            assert process.wait(10) == 0
    first, second = (json.loads(line) for line in log.read_text().splitlines())
    assert str(writing) in first["files"]
    assert second["arguments"][1:] == ["more"]


def test_other_orphans_are_not_adopted(server: ForkServer, log: Path) -> None:
    assert begin(server.start, log, "0").wait(10) == 0
    adopts = ctypes.c_int(1)
    assert ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(adopts)) == 0
    assert adopts.value == 0


def test_it_ends_with_the_tests(log: Path) -> None:
    server = ForkServer(execute, load="json")
    process = begin(server.start, log, "waiting")
    preloaded = server._loaded
    assert preloaded is not None
    server.close()
    assert preloaded.returncode == 0
    assert process.poll() is None, "which is for the tests to stop, as ever"
    process.terminate()
    process.wait(10)


KILLED = """
import sys, time
from pathlib import Path
from scripts.localsystem import execute
from tests.fork_server import ForkServer
from tests.integration.test_fork_server import begin

server = ForkServer(execute, load="json")
process = begin(server.start, Path(sys.argv[1]), "waiting")
print(process.pid, server._loaded.pid, flush=True)
time.sleep(60)
"""


def test_nothing_outlives_tests_that_are_killed(log: Path) -> None:
    line = [sys.executable, "-c", KILLED, str(log)]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE) as tests:
        assert tests.stdout is not None
        pids = [int(pid) for pid in tests.stdout.readline().split()]
        assert [psutil.pid_exists(pid) for pid in pids] == [True, True]
        tests.kill()
    eventually(lambda: not any(map(psutil.pid_exists, pids)))
