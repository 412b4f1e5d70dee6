"""The images built and run by an engine, locked up as compose locks them up: `make containers`.

CONTAINER_ENGINE is docker or podman; the other variables of the environment give the builds another
base or another index, where the default ones cannot be reached.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from scripts.dockerfile import parse
from scripts.redis_server import free_port
from tests.conftest import ROOT, eventually

pytestmark = [pytest.mark.container, pytest.mark.timeout(1800)]

ENGINE = os.environ.get("CONTAINER_ENGINE", "docker")
ARGUMENTS = {
    "BASE": os.environ.get("CONTAINER_BASE"),
    "TORCH_INDEX": os.environ.get("CONTAINER_TORCH_INDEX"),
}
LOCKED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "host")  # noqa: S108
COMPILED = (
    "import http, os, rerankq;"
    "print(*(os.path.exists(module.__cached__) for module in (http, rerankq)))"
)
MOST_FOR_THE_FRONT = 250_000_000


def engine(*words: str) -> str:
    done = subprocess.run([ENGINE, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def built(name: str) -> str:
    known = parse((ROOT / f"Dockerfile.{name}").read_text()).arguments
    given = [f"--build-arg={k}={v}" for k, v in ARGUMENTS.items() if v and k in known]
    # Podman's own format has no health check.
    form = ["--format=docker"] if ENGINE == "podman" else []
    tag = f"rerankq-{name}:test"
    engine("build", *form, *given, "-f", f"Dockerfile.{name}", "-t", tag, ".")
    return tag


class Container:
    """One that runs until the test stops it."""

    def __init__(self, name: str, *options: str, command: tuple[str, ...] = ()) -> None:
        self.image = parse((ROOT / f"Dockerfile.{name}").read_text()).last
        self.id = engine("run", "--detach", *LOCKED, *options, built(name), *command)

    def healthy(self, port: int) -> bool:
        check = [word.replace("8000", str(port)) for word in self.image.healthcheck or ()]
        done = subprocess.run([ENGINE, "exec", self.id, *check], capture_output=True)
        return done.returncode == 0

    def says(self, code: str) -> str:
        return engine("exec", self.id, "python", "-c", code)

    def stop(self) -> int:
        engine("stop", "--time", "20", self.id)
        return int(engine("inspect", "--format", "{{.State.ExitCode}}", self.id))


@pytest.fixture
def settings(redis_url: str) -> list[str]:
    variables = {
        "REDIS_URL": redis_url,
        "MODEL": "models/demo",
        "TOKEN_BUDGET": "2048",
        "METRICS_PORT": str(free_port()),
    }
    return [f"--env=RERANKQ_{name}={value}" for name, value in variables.items()]


def test_both_images_run_locked_up_and_stop_cleanly(settings: list[str]) -> None:
    port = free_port()
    command = ("--host", "127.0.0.1", "--port", str(port))
    model = f"--volume={ROOT / 'models' / 'demo'}:/app/models/demo:ro"
    containers: list[Container] = []
    try:
        containers.append(Container("api", *settings, command=command))
        containers.append(Container("worker", *settings, model))
        for container in containers:
            eventually(lambda container=container: container.healthy(port), 120)
        body = {"query": "ports", "documents": ["ss lists ports.", "Knead the dough."]}
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/rerank", json=body, timeout=60)
        assert answer.status_code == 200, answer.text
        for container in containers:
            assert container.says("import os; print(os.getuid(), os.access('/app', os.W_OK))") == (
                "10001 False"
            )
            assert container.says(COMPILED) == "True True", "each health check compiles"
            assert container.stop() == 0, engine("logs", container.id)
    finally:
        for container in containers:
            engine("rm", "--force", container.id)


def test_the_front_is_small_and_holds_no_model_stack() -> None:
    tag = built("api")
    assert int(engine("inspect", "--format", "{{.Size}}", tag)) < MOST_FOR_THE_FRONT
    code = (
        "from importlib.util import find_spec;"
        "print([name for name in ('torch', 'pyarrow', 'pip') if find_spec(name)])"
    )
    assert engine("run", "--rm", "--entrypoint", "python", tag, "-c", code) == "[]"


def test_a_model_is_baked_as_the_document_shows(tmp_path: Path) -> None:
    shown = (ROOT / "docs" / "images.md").read_text().split("```dockerfile\n")[1].split("```")[0]
    file = tmp_path / "Dockerfile.baked"
    file.write_text(shown.replace("rerankq-worker:dev", built("worker")))
    engine("build", "-f", str(file), "-t", "rerankq-worker:test-baked", "models/demo")
    code = "import os; print(sorted(os.listdir(os.environ['RERANKQ_MODEL']))[:2])"
    said = engine("run", "--rm", "--entrypoint", "python", "rerankq-worker:test-baked", "-c", code)
    assert "config.json" in said
