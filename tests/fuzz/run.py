"""One run: a system, the requests, the checks of each answer, and what is left when it is over."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import requests
import schemathesis
from schemathesis import BaseSchema, Case, Response
from schemathesis.core.failures import FailureGroup

from scripts.localsystem import LocalSystem, Start, execute
from tests.fuzz.cases import LONGEST_WAIT_S, Adaptation, boundaries, rounds
from tests.fuzz.checks import CHECKS

SENDERS = 8
ANSWER_WITHIN_S = 20.0
IDLE_WITHIN_S = 60.0
MOST_GROWTH_MB = 100.0  # of the API; all that it may keep is in Redis
LONGEST_CURL = 4_000


@dataclass
class Failure:
    """One thing that is wrong with one call, and the first request that showed it."""

    call: str
    reason: str
    curl: str
    times: int = 1


@dataclass
class Report:
    """What a run showed."""

    seed: int
    statuses: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    memory_mb: tuple[float, float] = (0.0, 0.0)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        return sum(counts.total() for counts in self.statuses.values())

    @property
    def clean(self) -> bool:
        return not (self.failures or self.left)


def run(folder: Path, *, seed: int, cases: int, start: Start = execute) -> Report:
    started = time.monotonic()
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("RERANKQ_")},
        "RERANKQ_MODEL_ALIASES": "*",  # a random model's name leads on to the rest of a job
        "RERANKQ_SYNC_TIMEOUT": f"{LONGEST_WAIT_S:g}",
        "RERANKQ_LOG_LEVEL": "warning",
    }
    system = LocalSystem(folder, env=environment, start=start)
    system.start()
    try:
        report = Report(seed)
        document = httpx.get(f"{system.url}/openapi.json").raise_for_status().json()
        config = schemathesis.Config.from_dict({"output": {"sanitization": {"enabled": False}}})
        schema = schemathesis.openapi.from_dict(document, config=config)
        api = psutil.Process(_pid(system))
        before = api.memory_info().rss / 1e6
        _Sending(system.url, report).send(_cases(schema, seed, cases))
        report.left = list(_left(system.url))
        report.memory_mb = (before, api.memory_info().rss / 1e6)
        if report.memory_mb[1] - before > MOST_GROWTH_MB:
            report.left.append(f"the API grew by more than {MOST_GROWTH_MB:g} MB")
    finally:
        system.stop()
    report.seconds = time.monotonic() - started
    return report


def _cases(schema: BaseSchema, seed: int, cases: int) -> Iterator[list[Case]]:
    chance = random.Random(seed)
    batch = boundaries(schema)
    # A short run sees something of every call.
    yield batch if cases >= len(batch) else chance.sample(batch, cases)
    left = cases - len(batch)
    for batch in rounds(schema, chance, max(left, 0)):
        if left <= 0:
            return
        yield batch[:left]
        left -= len(batch)


class _Sending:
    """Sends and checks, several at a time, and puts what it finds into the report."""

    def __init__(self, url: str, report: Report) -> None:
        self._url = url
        self._report = report
        self._lock = threading.Lock()
        self._local = threading.local()
        self._job_ids: list[str] = []
        self._adaptation = Adaptation(random.Random(report.seed), self._job_ids)

    def send(self, batches: Iterator[list[Case]]) -> None:
        with ThreadPoolExecutor(SENDERS) as pool:
            on_the_way: list[Future[None]] = []
            for batch in batches:  # the next one is made while one is sent
                for sent in on_the_way:
                    sent.result()
                for case in batch:
                    self._adaptation.adapt(case)
                on_the_way = [pool.submit(self._one, case) for case in batch]
            for sent in on_the_way:
                sent.result()

    def _one(self, case: Case) -> None:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        try:
            response = case.call(self._url, self._local.session, timeout=ANSWER_WITHIN_S)
        except requests.RequestException as error:
            self._fail(case, f"no answer: {type(error).__name__}")
            return
        with self._lock:
            self._report.statuses[case.operation.label][response.status_code] += 1
        self._remember(case, response)
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as found:
            for failure in found.exceptions:
                self._fail(case, f"{failure.title}: {failure.message}")

    def _remember(self, case: Case, response: Response) -> None:
        if case.path == "/v1/jobs" and case.method == "POST" and response.status_code < 300:
            self._job_ids.append(response.json()["id"])

    def _fail(self, case: Case, reason: str) -> None:
        call = f"{case.method} {case.path}"
        with self._lock:
            known = self._report.failures.get((call, reason))
            if known:
                known.times += 1
                return
            curl = case.as_curl_command(base_url=self._url)[:LONGEST_CURL]
            self._report.failures[call, reason] = Failure(call, reason, curl)


def _left(url: str) -> Iterator[str]:
    """What should be over and is not; an API that does not answer raises."""
    httpx.post(f"{url}/v1/lanes/bulk/resume").raise_for_status()
    deadline = time.monotonic() + IDLE_WITHIN_S
    while queue := httpx.get(f"{url}/v1/queue").raise_for_status().json():
        if queue["backlog"] == 0:
            return
        if time.monotonic() > deadline:
            yield f"a backlog of {queue['backlog']} shards after {IDLE_WITHIN_S:g} s"
            return
        time.sleep(0.2)


def _pid(system: LocalSystem) -> int:
    process = system.child("api").process
    assert process is not None
    return process.pid
