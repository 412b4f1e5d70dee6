"""A flood of bulk jobs: enough of them are open at any time to keep the lane from emptying."""

from __future__ import annotations

import random
import threading
import time

from benchmarks import prose
from rerankq import Client, Lane, RerankqError

LOOK_EVERY_S = 0.5
FILLED_WITHIN_S = 60.0


class Flood:
    """Clients that submit a bulk job each, wait for it, read its ranking, and again.

    Args:
        clients: jobs that are open at any time; each is of 20 to 100 documents.
    """

    def __init__(self, url: str, clients: int) -> None:
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(n,)) for n in range(clients)]
        self._watcher = threading.Thread(target=self._watch)
        self.jobs = 0
        self.failed = 0
        self.waiting: list[int] = []  # ledger entries that nobody had taken, at each look
        self._lock = threading.Lock()

    def start(self) -> None:
        """Returns when bulk entries wait, from when on they are looked at."""
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + FILLED_WITHIN_S
        with Client(self._url) as client:
            while _waiting(client) == 0:
                if time.monotonic() > deadline:
                    raise TimeoutError("the bulk lane does not fill")
                time.sleep(LOOK_EVERY_S)
        self._watcher.start()

    def end(self) -> None:
        """Submit no more, and look no more; what is open goes on."""
        self._over.set()

    def stop(self) -> None:
        """Returns when the last of its jobs has ended."""
        self.end()
        for thread in (self._watcher, *self._threads):
            thread.join()

    def _client(self, number: int) -> None:
        rng = random.Random(number)
        with Client(self._url) as client:
            while not self._over.is_set():
                documents = prose.documents(rng, rng.randint(20, 100))
                try:
                    ranking = client.rerank(prose.query(rng), documents, lane=Lane.BULK)
                except RerankqError as error:
                    ranking = []
                    print(f"a job of the flood failed: {error!r}")
                with self._lock:
                    self.jobs += 1
                    self.failed += len(ranking) != len(documents)

    def _watch(self) -> None:
        with Client(self._url) as client:
            while not self._over.wait(LOOK_EVERY_S):
                self.waiting.append(_waiting(client))


def _waiting(client: Client) -> int:
    return client.queue().lanes[Lane.BULK].waiting
