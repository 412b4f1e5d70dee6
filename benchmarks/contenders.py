"""Everything that can score the same jobs, behind one way of asking."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from benchmarks import machine
from benchmarks.peers.infinity import Server
from benchmarks.peers.process import Process
from benchmarks.texts import Job
from rerankq import Client
from scripts.localsystem import LocalSystem

CLIENTS = 16
BATCH_SIZES = (8, 16, 32)
TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Answer:
    """Seconds from texts to scores; probabilities in order."""

    seconds: float
    scores: list[float]
    further: dict[str, Any] = field(default_factory=dict)


class Contender(Protocol):
    """Something that scores jobs."""

    name: str

    def score(self, jobs: list[Job]) -> Answer: ...

    def tune(self, jobs: list[Job]) -> str:
        """Warm up on these jobs, keep the settings that are fastest for them, and name them."""
        ...

    def close(self) -> None: ...


class InProcess:
    """Ours or the seed loop: a process that has no settings to choose."""

    def __init__(self, name: str, module: str, model: Path, dtype: str, *args: str) -> None:
        self.name = name
        threads = str(machine.cores())
        self._process = Process(sys.executable, module, str(model), dtype, threads, *args)

    def score(self, jobs: list[Job]) -> Answer:
        return _answer(self._process.ask(jobs=jobs))

    def tune(self, jobs: list[Job]) -> str:
        further = self.score(jobs).further
        return ", ".join(f"{name} {value}" for name, value in further.items())

    def close(self) -> None:
        self._process.close()


def seed_loop(model: Path, dtype: str) -> InProcess:
    return InProcess("seed loop", "benchmarks.peers.seedloop", model, dtype)


def engine(model: Path, dtype: str, budget: int | None = None) -> InProcess:
    """Args: budget: tokens of its batches; None: as its own trials say."""
    args = () if budget is None else (str(budget),)
    return InProcess("rerankq's engine", "benchmarks.engine", model, dtype, *args)


class CrossEncoder:
    """sentence-transformers, at its fastest batch size for the jobs at hand."""

    name = "CrossEncoder"

    def __init__(self, python: Path, model: Path, dtype: str) -> None:
        module, threads = "benchmarks.peers.crossencoder", str(machine.cores())
        self._process = Process(str(python), module, str(model), dtype, threads)
        self._batch = BATCH_SIZES[0]

    def score(self, jobs: list[Job]) -> Answer:
        return self.score_by(jobs, self._batch)

    def score_by(self, jobs: list[Job], batch: int) -> Answer:
        return _answer(self._process.ask(jobs=jobs, batch=batch))

    def tune(self, jobs: list[Job]) -> str:
        self._batch = _fastest(BATCH_SIZES, lambda size: self.score_by(jobs, size).seconds)
        return f"batch {self._batch}"

    def close(self) -> None:
        self._process.close()


class Infinity:
    """infinity over HTTP: one server a batch size, of which the fastest is asked."""

    name = "infinity, HTTP"

    def __init__(self, python: Path, model: Path, dtype: str) -> None:
        self._servers: dict[int, Server] = {}
        try:
            for size in BATCH_SIZES:
                self._servers[size] = Server(python, model, dtype, size)
        except BaseException:
            self.close()
            raise
        self._batch = BATCH_SIZES[0]

    def score(self, jobs: list[Job]) -> Answer:
        return self._score_by(jobs, self._batch)

    def _score_by(self, jobs: list[Job], batch: int) -> Answer:
        server = self._servers[batch]
        with httpx.Client(timeout=TIMEOUT_S) as client:
            return _concurrently(jobs, lambda job: server.rerank(client, job))

    def tune(self, jobs: list[Job]) -> str:
        self._batch = _fastest(BATCH_SIZES, lambda size: self._score_by(jobs, size).seconds)
        return f"batch {self._batch}"

    def close(self) -> None:
        for server in self._servers.values():
            server.close()


class System:
    """Ours over HTTP: Redis, the API, Celery's bell, one worker."""

    name = "rerankq, HTTP"

    def __init__(self, model: Path, dtype: str, device: str = "cpu") -> None:
        self._folder = tempfile.TemporaryDirectory()
        given = {"RERANKQ_MODEL": str(model), "RERANKQ_DTYPE": dtype, "RERANKQ_DEVICE": device}
        # A cache of scores would answer every round but the first.
        given["RERANKQ_CACHE_TTL"] = "0"
        env = machine.environment() | given
        self.local = LocalSystem(Path(self._folder.name), env=env)
        self.local.start()

    def score(self, jobs: list[Job]) -> Answer:
        with Client(self.local.url) as client:
            return _concurrently(jobs, lambda job: _rerank(client, job))

    def tune(self, jobs: list[Job]) -> str:
        self.score(jobs)
        return f"{min(CLIENTS, len(jobs))} clients"

    def close(self) -> None:
        self.local.stop()
        self._folder.cleanup()


def _rerank(client: Client, job: Job) -> list[float]:
    ranking = client.rerank(*job)
    found = {result.index: result.relevance_score for result in ranking}
    return [found[number] for number in range(len(job[1]))]


def _concurrently(jobs: Sequence[Job], score: Callable[[Job], list[float]]) -> Answer:
    """At most 16 requests at a time, one a job."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        started = time.perf_counter()
        found = list(pool.map(score, jobs))
        seconds = time.perf_counter() - started
    return Answer(seconds, [score for scores in found for score in scores])


def _fastest(sizes: Sequence[int], seconds: Callable[[int], float]) -> int:
    """By the better of two tries each, in turn, after one to warm up."""
    seconds(sizes[-1])
    tries = [(seconds(size), size) for _ in range(2) for size in sizes]
    return min(tries)[1]


def _answer(raw: dict[str, Any]) -> Answer:
    return Answer(raw.pop("seconds"), raw.pop("scores"), raw)
