"""`make up` and `make demo`: one supervisor over the whole system."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from rerankq import Client
from scripts.redis_server import free_port
from tests.conftest import ROOT, clean_environment, eventually


def test_make_up_keeps_its_state_true_and_restarts_what_dies(tmp_path: Path) -> None:
    up = start_up(tmp_path, WORKERS="2")
    state_file = tmp_path / ".run" / "state.json"
    try:
        eventually(state_file.exists, 60)
        state = json.loads(state_file.read_text())
        pids = {process["name"]: process["pid"] for process in state["processes"]}
        assert set(pids) == {"redis", "api", "worker-1", "worker-2"}
        assert all(psutil.pid_exists(pid) for pid in pids.values())
        with Client(state["url"]) as client:
            assert client.rerank("q", ["d"], timeout=30)
            os.kill(pids["worker-2"], signal.SIGKILL)
            eventually(lambda: read_pids(state_file)["worker-2"] != pids["worker-2"], 30)
            pids = read_pids(state_file)
            assert psutil.pid_exists(pids["worker-2"])
            os.kill(pids["api"], signal.SIGKILL)
            eventually(lambda: read_pids(state_file)["api"] != pids["api"], 30)
            assert client.rerank("q", ["d"], timeout=60)
            pids = read_pids(state_file)
    finally:
        up.send_signal(signal.SIGTERM)
        assert up.wait(30) == 0
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert not state_file.exists()


def test_a_second_make_up_in_one_folder_is_refused(tmp_path: Path) -> None:
    """Two servers on one append-only file would destroy it."""
    first = start_up(tmp_path)
    try:
        eventually((tmp_path / ".run" / "state.json").exists, 60)
        second = subprocess.run(
            [sys.executable, "-m", "scripts.up"],
            cwd=tmp_path,
            env=clean_environment(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert second.returncode == 1
        assert "another system runs" in second.stderr
        hasty = start_up(tmp_path)
        eventually(lambda: opened_lock(hasty.pid), 20)
        hasty.terminate()
        hasty.wait(20)
        assert (tmp_path / ".run" / "state.json").exists()
    finally:
        first.terminate()
        assert first.wait(30) == 0


@pytest.mark.parametrize(
    ("variables", "code", "words"),
    [
        ({"PORT": "eight"}, 2, "PORT='eight': must be a whole number"),
        ({"PORT": "99999"}, 2, "PORT='99999'"),
        ({"WORKERS": "-1"}, 2, "WORKERS='-1'"),
        ({"RERANKQ_METRICS_PORT": "x"}, 2, "RERANKQ_METRICS_PORT='x'"),
        ({"RERANKQ_DTYPE": "int3"}, 2, "RERANKQ_DTYPE='int3'"),
        ({"MODEL": "models/typo"}, 2, "MODEL='models/typo': there is no such folder"),
        ({"MODEL": "/typo"}, 2, "MODEL='/typo': there is no such folder"),
        ({"RERANKQ_REDIS_URL": "redis://127.0.0.1:9/0"}, 1, "RERANKQ_REDIS_URL=(hidden): no"),
    ],
)
def test_make_up_names_what_is_wrong(
    variables: dict[str, str], code: int, words: str, tmp_path: Path
) -> None:
    env = clean_environment(**{"PORT": str(free_port()), "PYTHONPATH": str(ROOT), **variables})
    line = [sys.executable, "-m", "scripts.up"]
    said = subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert said.returncode == code
    assert words in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("name", ["PORT", "RERANKQ_METRICS_PORT"])
def test_make_up_does_not_take_another_s_port_for_its_own(name: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        env = clean_environment(
            **{"PORT": str(free_port()), "PYTHONPATH": str(ROOT), name: str(port)}
        )
        line = [sys.executable, "-m", "scripts.up"]
        said = subprocess.run(
            line, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
        )
    assert said.returncode == 1
    assert f"port {port} is taken" in said.stderr
    assert not (tmp_path / ".run" / "state.json").exists()


def opened_lock(pid: int) -> bool:
    """It waits for the folder."""
    return any(file.path.endswith(".run/lock") for file in psutil.Process(pid).open_files())


def test_a_supervisor_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    up = start_up(tmp_path)
    state_file = tmp_path / ".run" / "state.json"
    eventually(state_file.exists, 60)
    pids = read_pids(state_file)
    up.kill()
    up.wait(10)
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids.values()), 30)


def start_up(folder: Path, **variables: str) -> subprocess.Popen[bytes]:
    env = clean_environment(PORT=str(free_port()), PYTHONPATH=str(ROOT), **variables)
    line = [sys.executable, "-m", "scripts.up"]
    return subprocess.Popen(line, cwd=folder, env=env, stderr=subprocess.DEVNULL)


def read_pids(state_file: Path) -> dict[str, int]:
    state: Any = json.loads(state_file.read_text())
    return {process["name"]: process["pid"] for process in state["processes"]}


def test_the_demo_prints_a_sensible_ranking_and_leaves_nothing(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "scripts.demo"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    first, second = (line.split() for line in lines if line[:3].strip() in ("1", "2"))
    assert first[2] == "ss"
    assert float(first[1]) > float(second[1]) + 0.2
    assert "queued" in said.stdout
    assert "jobs shared a batch" in said.stdout
    left = [p for p in psutil.process_iter(["cmdline"]) if ".run/demo" in str(p.info["cmdline"])]
    assert not left
