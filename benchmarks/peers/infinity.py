"""infinity's HTTP server, in its own environment."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import httpx

from benchmarks import machine
from benchmarks.peers.process import PeerFailed
from benchmarks.texts import Job
from scripts.redis_server import free_port

STARTED_WITHIN_S = 120.0
MODEL = "reranker"
# Tried beside this: BetterTransformer (optimum 1.24 with transformers 4.48), which was no faster.
OPTIONS = ("--engine", "torch", "--device", "cpu", "--log-level", "warning", "--no-compile")


class Server:
    """One server with one batch size.

    Raises: PeerFailed, if it does not start.
    """

    def __init__(self, python: Path, model: Path, dtype: str, batch: int) -> None:
        port = str(free_port())
        line = [str(python.with_name("infinity_emb")), "v2", "--model-id", str(model), *OPTIONS]
        line += ["--served-model-name", MODEL, "--batch-size", str(batch), "--dtype", dtype]
        self._process = subprocess.Popen(
            [*line, "--host", "127.0.0.1", "--port", port],
            env=machine.environment() | {"DO_NOT_TRACK": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.url = f"http://127.0.0.1:{port}"
        self._await()

    def rerank(self, client: httpx.Client, job: Job) -> list[float]:
        """Probabilities, in order."""
        body = {"model": MODEL, "query": job[0], "documents": job[1]}
        answer = client.post(f"{self.url}/rerank", json=body).raise_for_status().json()
        found = {item["index"]: float(item["relevance_score"]) for item in answer["results"]}
        return [found[number] for number in range(len(job[1]))]

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _await(self) -> None:
        deadline = time.monotonic() + STARTED_WITHIN_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health").is_success:
                    return
            except httpx.TransportError:
                time.sleep(0.2)
        self.close()
        raise PeerFailed("infinity's server does not start")
