"""The plain server (`benchmarks.peers.crossencoder_server`) in a process of its own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks import machine
from benchmarks.peers.process import PeerFailed
from scripts.redis_server import free_port

ROOT = Path(__file__).resolve().parents[2]
STARTED_WITHIN_S = 120.0


@contextmanager
def served(python: Path, model: Path) -> Iterator[str]:
    """Its URL, while it runs.

    Raises: PeerFailed.
    """
    port = free_port()
    line = [str(python), "-m", "benchmarks.peers.crossencoder_server", str(model), str(port)]
    with subprocess.Popen(line, cwd=ROOT, env=machine.environment()) as process:
        try:
            _await(process, f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def _await(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/livez").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise PeerFailed("the plain server does not start")
