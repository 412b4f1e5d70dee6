"""Who calls a service while something is wrong with it, and what each call came to."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlsplit

import httpx

from benchmarks import prose

TIMEOUT_S = 60.0  # far above every bound, so that what is too slow is seen and not cut
LONGEST_PAUSE_S = 1.0  # at random: calls that fail together must not come again in step


@dataclass(frozen=True)
class Call:
    """One call: when it began and how long it took, in seconds, and what came of it."""

    began: float
    took: float
    status: int
    retry_after: str | None
    job_id: str | None


class Callers:
    """Threads that make calls of one kind, one after the other each, until stopped.

    No call is made again by itself, as `rerankq.Client` would.
    """

    def __init__(self, url: str, count: int, call: Callable[[httpx.Client, int], Call]) -> None:
        self._url = url
        self._call = call
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(count)]
        self.calls: list[Call] = []
        for thread in self._threads:
            thread.start()

    def stop(self) -> list[Call]:
        """Returns when the last call has ended."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self.calls

    def _run(self, number: int) -> None:
        with httpx.Client(base_url=self._url, timeout=TIMEOUT_S) as client:
            while not self._over.wait(random.uniform(0, LONGEST_PAUSE_S)):
                self.calls.append(self._call(client, number))


def submitting(client: httpx.Client, number: int) -> Call:
    """POST a job of 10 documents."""
    rng = random.Random(number)
    body = {"query": prose.query(rng), "documents": prose.documents(rng, 10)}
    return _timed(lambda: client.post("/v1/jobs", json=body))


class Polling:
    """Long polls of these jobs, in turn."""

    def __init__(self, job_ids: Sequence[str], wait_s: float) -> None:
        self._job_ids = itertools.cycle(job_ids)
        self._wait_s = wait_s

    def __call__(self, client: httpx.Client, _: int) -> Call:
        job_id = next(self._job_ids)
        return _timed(lambda: client.get(f"/v1/jobs/{job_id}", params={"wait": self._wait_s}))


def _timed(send: Callable[[], httpx.Response]) -> Call:
    began = time.monotonic()
    try:
        response = send()
    except httpx.TransportError:
        return Call(began, time.monotonic() - began, 0, None, None)
    took = time.monotonic() - began
    job_id = response.json().get("id") if response.is_success else None
    return Call(began, took, response.status_code, response.headers.get("Retry-After"), job_id)


class Pulse:
    """Asks one path over one connection that stays open; status 200 or the run is void."""

    def __init__(self, url: str, path: str) -> None:
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)
        self._path = path
        self.took: list[float] = []

    def ask(self) -> bytes:
        started = time.perf_counter()
        self._connection.request("GET", self._path)
        answer = self._connection.getresponse()
        body = answer.read()
        self.took.append(time.perf_counter() - started)
        assert answer.status == 200, f"{self._path} answered {answer.status}"
        return body

    def close(self) -> None:
        self._connection.close()
