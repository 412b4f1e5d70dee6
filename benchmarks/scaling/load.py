"""So many jobs that no worker ever finds the queue empty, and whether their scores are right."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue

import httpx
import redis

from benchmarks.scaling.device import expected
from benchmarks.texts import paragraphs
from rerankq.ledger import calls, shards
from rerankq.ledger.connection import connect
from rerankq.ledger.keys import Key, name
from rerankq.ledger.records import header, new_job_id
from rerankq.ledger.sharding import cut, pair_costs
from rerankq.ledger.shards import Shards
from rerankq.ledger.store import Ledger
from rerankq.schema import JobRequest
from rerankq.status import JobStatus, Lane

SHARDS_A_JOB = 4
VARIANTS = 8  # different jobs; a query of its own makes each one's pairs different from all others'
LOOK_EVERY_S = 0.02
SUBMITTERS = 4
CHECKED = 20  # jobs whose scores are looked at

Submit = Callable[["Texts", str], str]  # a variant and a query; the job's id


@dataclass(frozen=True, slots=True)
class Texts:
    """The documents of a job, cut and encoded once: the load must not cost what it measures."""

    documents: list[str]
    shards: Shards
    json: bytes


def variants(document_bytes: int, shard_tokens: int, documents: int = 0) -> list[Texts]:
    """Jobs of so many documents of that size; without a number, of some full shards."""
    (each,) = pair_costs(_query(0), None, ["x" * document_bytes], max_length=shard_tokens)
    count = documents or SHARDS_A_JOB * max(1, shard_tokens // each)
    rng = random.Random(1)
    return [_texts(rng, document_bytes, count, shard_tokens) for _ in range(VARIANTS)]


def _texts(rng: random.Random, size: int, count: int, shard_tokens: int) -> Texts:
    documents = texts(rng, size, count)
    return Texts(
        documents,
        encoded(documents, shard_tokens),
        json.dumps(documents).encode(),
    )


def texts(rng: random.Random, size: int, count: int) -> list[str]:
    """English in pieces of that size, one after the other: repeats would compress too well."""
    start = rng.randrange(len(paragraphs()))
    endless = itertools.cycle(paragraphs()[start:] + paragraphs()[:start])
    whole = ""
    while len(whole) < size * count:
        whole += next(endless).encode("ascii", "ignore").decode() + " "
    return [whole[n * size : (n + 1) * size] for n in range(count)]


def encoded(documents: list[str], shard_tokens: int, *, echo: bool = False) -> Shards:
    """Cut as the API does it for workers that do a shard of that size within a second."""
    request = JobRequest(query=_query(0), documents=[*documents], return_documents=echo)
    shape = cut(
        _query(0),
        None,
        documents,
        shard_tokens=shard_tokens,
        max_length=8192,
        tokens_per_s=shard_tokens,
    )
    return shards.encode(request, documents, shape)


def _query(number: int) -> str:
    return f"query {number:06}"


def into_ledger(url: str) -> Submit:
    """Past the API: stage and commit, as it does."""
    ledger = Ledger(connect(url))

    def submit(texts: Texts, query: str) -> str:
        job_id = new_job_id()
        request = JobRequest(query=query, documents=["see the shards"], lane=Lane.BULK)
        whole = replace(texts.shards, token=job_id)
        fields = header(
            request, whole.cut, model="simulated", owner="", request_id="", result_ttl_ms=120_000
        ) | {"total": len(texts.documents)}
        committed = ledger.submit(
            whole,
            calls.commit(
                job_id,
                fields,
                entries=whole.count,
                max_backlog=10**6,
                owner="",
                expires_in_ms=3_600_000,
                idempotency=None,
                staged=whole.token,
            ),
        )
        assert committed.outcome == "created", committed
        return job_id

    return submit


def by_http(urls: Sequence[str]) -> Submit:
    """Through these API processes in turn."""
    clients = itertools.cycle([httpx.Client(base_url=url, timeout=60) for url in urls])

    def submit(texts: Texts, query: str) -> str:
        body = b'{"lane": "bulk", "query": "%b", "documents": %b}' % (query.encode(), texts.json)
        answer = next(clients).post(
            "/v1/jobs", content=body, headers={"Content-Type": "application/json"}
        )
        answer.raise_for_status()
        return str(answer.json()["id"])

    return submit


class Feeder:
    """One thread looks how many shards are open, others submit what is missing.

    Args:
        ahead: shards to keep open; more than all workers together hold.
    """

    def __init__(
        self, redis_url: str, make_submit: Callable[[], Submit], jobs: list[Texts], ahead: int
    ) -> None:
        self._client = redis.Redis.from_url(redis_url)
        self._ledger = Ledger(self._client)
        self._make_submit = make_submit
        self._jobs = jobs
        self._ahead = ahead
        self._numbers = itertools.count()
        self._wanted: SimpleQueue[int | None] = SimpleQueue()  # numbers of jobs to submit
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._submit) for _ in range(SUBMITTERS)]
        self._threads.append(threading.Thread(target=self._look))
        self._first: dict[str, Texts] = {}
        self.dry = 0  # looks that found less than a quarter of `ahead`

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _look(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            open_shards = int(self._client.zcard(name(Key.PENDING, Lane.BULK)))
            self.dry += open_shards < self._ahead / 4
            coming = self._wanted.qsize() * SHARDS_A_JOB
            for _ in range((self._ahead - open_shards - coming) // SHARDS_A_JOB):
                self._wanted.put(next(self._numbers))
        for _ in range(SUBMITTERS):
            self._wanted.put(None)

    def _submit(self) -> None:
        submit = self._make_submit()
        while (number := self._wanted.get()) is not None:
            if self._over.is_set():
                continue
            texts = self._jobs[number % len(self._jobs)]
            job_id = submit(texts, _query(number))
            if number < CHECKED:
                self._first[job_id] = texts

    @property
    def checked(self) -> list[str]:
        """The jobs whose scores are looked at."""
        return list(self._first)

    def wrong(self) -> list[str]:
        """Of the first jobs, those that did not come back complete and right."""
        return [job_id for job_id, texts in self._first.items() if not self._right(job_id, texts)]

    def _right(self, job_id: str, texts: Texts) -> bool:
        deadline = time.monotonic() + 30
        while (job := self._ledger.job(job_id)) and job.status is not JobStatus.SUCCEEDED:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_EVERY_S)
        outputs = sorted(self._ledger.outputs(job_id), key=lambda output: output.first)
        scores = [score for output in outputs for score in output.log_odds]
        return scores == [expected(document) for document in texts.documents]
