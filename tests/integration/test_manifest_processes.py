"""The processes, started with the commands, arguments and environment of the manifests, without
containers: they are what the probes, the readiness and the grace period expect."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from rerankq import Client
from scripts import manifests
from scripts.redis_server import find_server, free_port
from tests.conftest import ROOT, clean_environment, eventually
from tests.manifest_reading import PASSWORD, container, environment, find, generated

Start = Callable[[list[str], dict[str, str]], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(command: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        command = [sys.executable if word == "python" else word for word in command]
        started.append(subprocess.Popen(command, env=env, cwd=ROOT))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def answer(port: int, probe: dict[str, Any]) -> int:
    """What a probe gets; 0: nobody listens."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", probe["httpGet"]["path"])
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def redis_command(objects: list[dict[str, Any]], folder: Path, port: int) -> list[str]:
    arguments = container(objects, "redis")["args"]
    here = [str(folder) if word == "/data" else word for word in arguments]
    return [find_server(), "--requirepass", PASSWORD, "--port", str(port), *here]


def test_probes_readiness_and_drain_of_the_manifests(tmp_path: Path, start: Start) -> None:
    objects = manifests.build(ROOT / "k8s" / "overlays" / "cpu-dev")
    redis_port, api_port, worker_port = free_port(), free_port(), free_port()
    generated(objects, "rerankq-redis")["data"]["address"] = f"127.0.0.1:{redis_port}"
    here = {"HOME": str(tmp_path), "HF_HOME": str(tmp_path), "RERANKQ_MODEL": "models/demo"}
    here |= {"RERANKQ_METRICS_PORT": str(worker_port), "RERANKQ_TOKEN_BUDGET": "2048"}
    api, worker = container(objects, "api"), container(objects, "worker")

    command = [str(api_port) if word == "8000" else word for word in api["command"]]
    start(command, clean_environment() | environment(objects, api) | here)
    scoring = start(worker["command"], clean_environment() | environment(objects, worker) | here)
    eventually(lambda: answer(api_port, api["livenessProbe"]) == 200)
    assert answer(api_port, api["readinessProbe"]) == 503  # there is no Redis yet
    eventually(lambda: answer(worker_port, worker["livenessProbe"]) == 200)
    assert answer(worker_port, worker["startupProbe"]) == 503  # nor a loaded model

    start(redis_command(objects, tmp_path, redis_port), {})
    eventually(lambda: answer(api_port, api["readinessProbe"]) == 200)
    eventually(lambda: answer(worker_port, worker["readinessProbe"]) == 200, 60)
    with Client(f"http://127.0.0.1:{api_port}") as client:
        assert len(client.rerank("ports?", ["ss lists the ports.", "Knead the dough."])) == 2

        pod = find(objects, "Deployment", "rerankq-worker")["spec"]["template"]["spec"]
        client.submit("ports?", [f"document {i} about ports" for i in range(3000)])
        eventually(lambda: client.queue().lanes["interactive"].in_flight)
        scoring.send_signal(signal.SIGTERM)
        assert scoring.wait(pod["terminationGracePeriodSeconds"]) == 0
        assert client.queue().lanes["interactive"].in_flight == 0  # handed back, not lost
