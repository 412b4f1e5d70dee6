"""What the images and compose would start, started without an engine.

The commands, environment and health checks are read from the files themselves. The processes run
in a copy of what the Dockerfiles copy, with an interpreter that sees the installed packages and not
this checkout.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from scripts.compose import filled_in, load
from scripts.dockerfile import Image, parse
from scripts.redis_server import find_server, free_port
from tests.conftest import ROOT

PASSWORD = "of-this-test-alone"
BASH = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass
class Part:
    """A container's process without the container."""

    command: list[str]
    check: list[str]
    env: dict[str, str]
    folder: Path

    def start(self) -> None:
        log = (self.folder.parent / f"{self.folder.name}.log").open("wb")
        with log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.env, stdout=log, stderr=log
            )

    def healthy(self) -> bool:
        assert self.process.poll() is None, self.said()
        checked = subprocess.run(self.check, cwd=self.folder, env=self.env, capture_output=True)
        return checked.returncode == 0

    def becomes_healthy(self) -> None:
        deadline = time.monotonic() + 60
        while not self.healthy():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.3)  # a check is a process of its own

    def said(self) -> str:
        return (self.folder.parent / f"{self.folder.name}.log").read_text()


@dataclass
class Ground:
    """What stands in for the image's folders, names and ports on this machine."""

    folder: Path
    redis_port: int
    api_port: int
    metrics_port: int

    def here(self, text: str) -> str:
        ours = {
            "/opt/venv/bin": str(self.folder / "venv" / "bin"),
            "${PATH}": os.environ["PATH"],
            "/etc/redis/redis.conf": str(ROOT / "config" / "redis.conf"),
            "/tmp": str(self.folder / "tmp"),  # noqa: S108
            "/cache": str(self.folder / "cache"),
            "@redis:6379": f"@127.0.0.1:{self.redis_port}",
            "redis-cli": f"redis-cli -p {self.redis_port}",
            "0.0.0.0": "127.0.0.1",
            "8000": str(self.api_port),
        }
        return re.sub("|".join(map(re.escape, ours)), lambda theirs: ours[theirs[0]], text)

    def built(self, name: str, service: dict[str, Any]) -> Part:
        """The last stage of the service's Dockerfile with the service's own settings over it."""
        image = parse((ROOT / service["build"]["dockerfile"]).read_text()).last
        folder = self.folder / name
        for copy in image.copies:
            for source in copy.sources:
                shutil.copytree(
                    ROOT / source,
                    folder / copy.target,
                    ignore=shutil.ignore_patterns("__pycache__"),
                )
        env = {key: self.here(value) for key, value in (image.env | service["environment"]).items()}
        # In place of the packages that the image installs; no .pth file there is followed.
        env["PYTHONPATH"] = sysconfig.get_path("purelib")
        env["RERANKQ_METRICS_PORT"] = str(self.metrics_port)
        env["RERANKQ_TOKEN_BUDGET"] = "2048"  # measuring it takes seconds
        assert image.entrypoint
        assert image.healthcheck
        command = [self.here(word) for word in [*image.entrypoint, *_arguments(service, image)]]
        check = [self.here(word) for word in image.healthcheck]
        for mount in service.get("volumes", []):
            source, target = mount.split(":")[:2]
            if source.startswith("./"):
                inside = folder / Path(target).relative_to(image.workdir)
                inside.parent.mkdir(parents=True)
                inside.symlink_to(ROOT / source)
        return Part(command, check, env, folder)

    def redis(self, service: dict[str, Any]) -> Part:
        folder = self.folder / "redis"
        folder.mkdir()
        programs = [str(Path(find_server()).parent), str(Path(sys.executable).parent)]
        env = service["environment"] | {"PATH": os.pathsep.join([*programs, os.environ["PATH"]])}
        # The image's working directory is its data's; its port is not free here.
        *shell, script = service["command"]
        check = self.here(service["healthcheck"]["test"][1])
        script = f"{self.here(script)} --port {self.redis_port}"
        return Part([*shell, script], ["sh", "-c", check], env, folder)


def _arguments(service: dict[str, Any], image: Image) -> list[str]:
    given: list[str] = service.get("command") or image.command or []
    return given


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Part]]:
    ground = Ground(tmp_path_factory.mktemp("images"), free_port(), free_port(), free_port())
    venv.create(ground.folder / "venv", symlinks=True)
    for name in ("tmp", "cache"):
        (ground.folder / name).mkdir()
    given = filled_in(load(ROOT / "docker-compose.yml"), {"REDIS_PASSWORD": PASSWORD})
    services = given["services"]
    started = {"redis": ground.redis(services["redis"])}
    started |= {name: ground.built(name, services[name]) for name in ("api", "worker")}
    try:
        yield started
    finally:
        for part in reversed(started.values()):
            if hasattr(part, "process") and part.process.poll() is None:
                part.process.kill()
                part.process.wait(10)


def files(part: Part) -> set[str]:
    return {str(path) for path in part.folder.rglob("*")}


def test_the_parts_start_in_order_answer_and_end(parts: dict[str, Part]) -> None:
    front, worker, store = parts["api"], parts["worker"], parts["redis"]
    before = files(front) | files(worker)

    store.start()
    store.becomes_healthy()
    url = front.env["RERANKQ_REDIS_URL"]
    anyone = redis.Redis.from_url(url.replace(f":{PASSWORD}@", ""))
    with anyone, pytest.raises(redis.AuthenticationError):
        anyone.ping()
    with redis.Redis.from_url(url) as client:
        for name, value in (
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("maxmemory-policy", "noeviction"),
            ("maxmemory", str(1024**3)),
        ):
            assert client.config_get(name)[name] == value

    front.start()
    worker.start()
    front.becomes_healthy()
    assert not worker.healthy(), "its model is not loaded yet"
    worker.becomes_healthy()

    shown = BASH.findall((ROOT / "docs" / "images.md").read_text())
    port = front.command[front.command.index("--port") + 1]
    for block in shown:
        said = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.replace(":8000", f":{port}")],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert json.loads(said.stdout)["status"] == "succeeded", said
    assert shown

    for part in (worker, front, store):
        part.process.terminate()
        assert part.process.wait(20) == 0, part.said()
    assert files(front) | files(worker) == before, "they write where an image is read-only"
    assert PASSWORD not in front.said() + worker.said()
