"""The load: clients that submit, wait and check every score against the undisturbed run's."""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from rerankq import APIError, Client, ConnectionFailed, JobStatus
from rerankq.ledgered import ledger_at
from rerankq.settings import Settings
from rerankq.tasks import make_task

WORDS = (Path(__file__).parents[2] / "LICENSE").read_text().split()
TOLERANCE = 1e-5
GIVE_UP_S = 600.0
TASKS_SHARE = 0.15


Scores = list[tuple[int, float]]


class Lost(Exception):
    """An accepted job came to nothing, or to the wrong thing."""


@dataclass
class Outcome:
    """What came of the load."""

    succeeded: int = 0
    tasks: int = 0  # of all of them, those sent as public Celery tasks
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
    """Jobs on both lanes, from as many threads as there are clients.

    Args:
        documents: of one job, the least and the most.
    """

    def __init__(
        self,
        urls: list[str],
        settings: Settings,
        texts: Texts,
        *,
        jobs: int,
        documents: tuple[int, int],
        clients: int,
        seed: int,
    ) -> None:
        self._urls = urls
        self._rerank = sender(settings)
        self._redis = redis.Redis.from_url(settings.redis_url, socket_timeout=5)
        self._texts = texts
        self._jobs = jobs
        self._documents = documents
        self._clients = clients
        self._seed = seed
        self._lock = threading.Lock()
        self.outcome = Outcome()
        self.finished = 0

    def run(self) -> Outcome:
        with ThreadPoolExecutor(self._clients) as pool:
            list(pool.map(self._client, range(self._clients)))
        self._redis.close()
        close(self._rerank)
        return self.outcome

    def _client(self, number: int) -> None:
        rng = random.Random(f"{self._seed} {number}")
        with Client(self._urls[number % len(self._urls)], retry_for=120) as client:
            for n in range(number, self._jobs, self._clients):
                self._one(client, rng, n)

    def _one(self, client: Client, rng: random.Random, n: int) -> None:
        query = rng.randrange(len(self._texts.queries))
        chosen = rng.choices(range(len(self._texts.documents)), k=rng.randint(*self._documents))
        started = time.monotonic()
        lane, as_task = rng.choice(["interactive", "bulk"]), rng.random() < TASKS_SHARE
        name = f"chaos {self._seed} {n}"
        try:
            if as_task:
                scores = self._task(query, chosen, lane, name)
            else:
                scores = self._job(client, query, chosen, lane, name)
            wrong = self._judge(scores, query, chosen)
        except Lost as lost:
            wrong = str(lost)
        except Exception as error:  # a client that dies would leave the storm without an end
            wrong = repr(error)
        with self._lock:
            self.finished += 1
            self.outcome.slowest_s = max(self.outcome.slowest_s, time.monotonic() - started)
            self.outcome.tasks += as_task
            if wrong:
                self.outcome.wrong.append(f"{name}: {wrong}")
            else:
                self.outcome.succeeded += 1

    def _job(self, client: Client, query: int, chosen: list[int], lane: str, key: str) -> Scores:
        documents = [self._texts.documents[i] for i in chosen]
        deadline = time.monotonic() + GIVE_UP_S
        while True:
            try:
                # The same key throughout: an answer that was lost must not make a second job.
                job = client.submit(
                    self._texts.queries[query], documents, lane=lane, idempotency_key=key
                )
                job = client.wait(job.id, timeout=GIVE_UP_S)
                break
            except (APIError, ConnectionFailed) as error:
                if time.monotonic() > deadline:
                    raise Lost(f"no answer: {error}") from None
        if job.status is not JobStatus.SUCCEEDED:
            raise Lost(f"{job.id} {job.status}: {job.error}")
        if job.progress.scored != len(chosen):
            raise Lost(f"{job.id}: {job.progress.scored} scored of {len(chosen)}")
        return [(result.index, result.relevance_score) for result in job.results or []]

    def _task(self, query: int, chosen: list[int], lane: str, task_id: str) -> Scores:
        """Through Celery; its result is read as it lies."""
        kwargs = {
            "query": self._texts.queries[query],
            "documents": [self._texts.documents[i] for i in chosen],
        }
        deadline = time.monotonic() + GIVE_UP_S
        sent = False
        while time.monotonic() < deadline:
            try:
                if not sent:
                    self._rerank.apply_async(
                        kwargs=kwargs, task_id=task_id, queue=f"rerankq.{lane}"
                    )
                    sent = True
                answer: Any = self._redis.get(f"celery-task-meta-{task_id}")
            except redis.RedisError:
                answer = None
            if answer is not None:
                return _task_scores(json.loads(answer))
            time.sleep(0.1)
        raise Lost("no result")

    def _judge(self, scores: Scores, query: int, chosen: list[int]) -> str | None:
        """What is wrong with a ranking."""
        if sorted(index for index, _ in scores) != list(range(len(chosen))):
            return f"{len(scores)} results of {len(chosen)}"
        off = max(abs(score - self._texts.scores[query, chosen[i]]) for i, score in scores)
        with self._lock:
            self.outcome.worst_score = max(self.outcome.worst_score, off)
        return f"a score is off by {off:.2g}" if off > TOLERANCE else None


def _task_scores(meta: dict[str, Any]) -> Scores:
    if meta["status"] != "SUCCESS":
        raise Lost(f"task {meta['status']}: {meta['result']}")
    return [(each["index"], each["relevance_score"]) for each in meta["result"]["results"]]


def sender(settings: Settings) -> Any:
    """A task whose app only sends.

    One that listens for results gives up after 20 lost connections ("must be restarted"), and its
    results block whichever thread collects them for those 20 s once Redis is gone.
    """
    task = make_task(settings)
    task.app.conf.result_backend = "disabled://"
    return task


def close(task: Any) -> None:
    """Close what a task's app and its ledger are connected by, before the collector finds it."""
    task.app.close()
    ledger_at(task.settings.redis_url, None).close()
