"""The load: clients that submit, wait and check every score against the undisturbed run's."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from rerankq import APIError, Client, ConnectionFailed, Job, JobStatus

WORDS = (Path(__file__).parents[2] / "LICENSE").read_text().split()
TOLERANCE = 1e-5
GIVE_UP_S = 600.0


@dataclass
class Outcome:
    """What came of the load."""

    succeeded: int = 0
    wrong: list[str] = field(default_factory=list)
    worst_score: float = 0.0
    slowest_s: float = 0.0


class Texts:
    """A few queries and documents that all jobs draw from, and the score of every pair of them."""

    def __init__(self, seed: int, queries: int = 12, documents: int = 60) -> None:
        rng = random.Random(seed)
        self.queries = [self._text(rng, 8) for _ in range(queries)]
        self.documents = [self._text(rng, 40) for _ in range(documents)]
        self.scores: dict[tuple[int, int], float] = {}

    @staticmethod
    def _text(rng: random.Random, longest: int) -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(1, longest)))

    def score(self, url: str) -> None:
        """By the system itself, while nothing disturbs it."""
        with Client(url) as client:
            for q, query in enumerate(self.queries):
                for result in client.rerank(query, self.documents):
                    self.scores[q, result.index] = result.relevance_score


class Load:
    """Jobs of 1 to 40 documents on both lanes, from as many threads as there are clients."""

    def __init__(
        self, urls: list[str], texts: Texts, *, jobs: int, clients: int, seed: int
    ) -> None:
        self._urls = urls
        self._texts = texts
        self._jobs = jobs
        self._clients = clients
        self._seed = seed
        self._lock = threading.Lock()
        self.outcome = Outcome()
        self.finished = 0

    def run(self) -> Outcome:
        with ThreadPoolExecutor(self._clients) as pool:
            list(pool.map(self._client, range(self._clients)))
        return self.outcome

    def _client(self, number: int) -> None:
        rng = random.Random(f"{self._seed} {number}")
        with Client(self._urls[number % len(self._urls)], retry_for=120) as client:
            for n in range(number, self._jobs, self._clients):
                self._one(client, rng, n)

    def _one(self, client: Client, rng: random.Random, n: int) -> None:
        query = rng.randrange(len(self._texts.queries))
        chosen = rng.choices(range(len(self._texts.documents)), k=rng.randint(1, 40))
        started = time.monotonic()
        job = self._rank(client, query, chosen, rng.choice(["interactive", "bulk"]), f"chaos {n}")
        with self._lock:
            self.finished += 1
            self.outcome.slowest_s = max(self.outcome.slowest_s, time.monotonic() - started)
            self._check(job, query, chosen)

    def _rank(self, client: Client, query: int, chosen: list[int], lane: str, key: str) -> Job:
        documents = [self._texts.documents[i] for i in chosen]
        deadline = time.monotonic() + GIVE_UP_S
        while True:
            try:
                # The same key throughout: an answer that was lost must not make a second job.
                job = client.submit(
                    self._texts.queries[query], documents, lane=lane, idempotency_key=key
                )
                return client.wait(job.id, timeout=GIVE_UP_S)
            except (APIError, ConnectionFailed):
                if time.monotonic() > deadline:
                    raise

    def _check(self, job: Job, query: int, chosen: list[int]) -> None:
        results = job.results or []
        if job.status is not JobStatus.SUCCEEDED:
            self.outcome.wrong.append(f"{job.id} {job.status}: {job.error}")
        elif sorted(result.index for result in results) != list(range(len(chosen))):
            self.outcome.wrong.append(f"{job.id}: {len(results)} results of {len(chosen)}")
        elif job.progress.scored != len(chosen):
            self.outcome.wrong.append(f"{job.id}: {job.progress.scored} scored of {len(chosen)}")
        else:
            off = max(
                abs(result.relevance_score - self._texts.scores[query, chosen[result.index]])
                for result in results
            )
            self.outcome.worst_score = max(self.outcome.worst_score, off)
            if off > TOLERANCE:
                self.outcome.wrong.append(f"{job.id}: a score is off by {off:.2g}")
            else:
                self.outcome.succeeded += 1
