"""Synchronous callers in a closed loop: each sends its next request when its last is answered.

    python -m benchmarks.syncing.load URL CLIENTS SECONDS WARM_UP_SECONDS

A process of its own, as light as may be: requests are bytes made beforehand, of which a number is
filled in so that no two are equal. Prints one line of JSON (`Outcome`) of what was answered after
the warm-up.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks import prose

DOCUMENTS = 10
VARIANTS = 400  # different sets of documents
PATH = "/v1/rerank"
NUMBER = b"00000000"
# uvloop takes one new connection at each turn of the loop: of hundreds that come at once, to a loop
# that is busy with the first ones, the last wait for seconds.
MOST_CONNECTS = 5
BETWEEN_CONNECTS_S = 0.15


@dataclass
class Outcome:
    """What came of all requests answered within `seconds`.

    Attributes:
        statuses: answers by their HTTP status; "lost": connections that ended without one.
        latencies: seconds of each answer with status 200.
    """

    seconds: float = 0.0
    statuses: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)


def requests() -> list[tuple[bytes, bytes]]:
    """Each as what stands before its number and what stands behind it."""
    rng = random.Random(3)
    found = []
    for _ in range(VARIANTS):
        query = f"{NUMBER.decode()} {prose.query(rng)}"
        body = json.dumps({"query": query, "documents": prose.documents(rng, DOCUMENTS)}).encode()
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        whole = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        before, _, behind = whole.partition(NUMBER)
        found.append((before, behind))
    return found


class Load:
    """All callers, and what came of them."""

    def __init__(self) -> None:
        self._requests = itertools.cycle(requests())
        self._numbers = itertools.count()
        self.counting = False
        self.over = False
        self.outcome = Outcome()

    def next(self) -> bytes:
        before, behind = next(self._requests)
        return b"%b%08d%b" % (before, next(self._numbers), behind)

    def answered(self, status: str, seconds: float = 0.0) -> None:
        if self.counting:
            self.outcome.statuses[status] += 1
            if status == "200":
                self.outcome.latencies.append(seconds)


class Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._read = b""
        self._sent = 0.0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._load.over:
            self._load.answered("lost")

    def data_received(self, data: bytes) -> None:
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        self._read = b""
        self._load.answered(head[9:12].decode(), time.perf_counter() - self._sent)
        wait = _header(head, b"retry-after")
        if wait:
            asyncio.get_running_loop().call_later(float(wait), self._send)
        else:
            self._send()

    def _send(self) -> None:
        if not self._load.over and not self._transport.is_closing():
            self._sent = time.perf_counter()
            self._transport.write(self._load.next())


def _header(head: bytes, name: bytes) -> bytes:
    _, _, rest = head.lower().partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip()


def _length(head: bytes) -> int:
    return int(_header(head, b"content-length"))


async def run(url: str, clients: int, seconds: float, warm_up: float) -> Outcome:
    load, where = Load(), urlsplit(url)
    loop = asyncio.get_running_loop()
    for first in range(0, clients, MOST_CONNECTS):
        count = min(MOST_CONNECTS, clients - first)
        connects = [
            loop.create_connection(lambda: Caller(load), where.hostname, where.port)
            for _ in range(count)
        ]
        await asyncio.gather(*connects)
        await asyncio.sleep(BETWEEN_CONNECTS_S)
    await asyncio.sleep(warm_up)
    load.counting, started = True, time.perf_counter()
    await asyncio.sleep(seconds)
    load.counting, load.over = False, True
    load.outcome.seconds = time.perf_counter() - started
    return load.outcome


def main() -> None:
    url, clients, seconds, warm_up = sys.argv[1:]
    outcome = uvloop.run(run(url, int(clients), float(seconds), float(warm_up)))
    print(json.dumps(vars(outcome)))


if __name__ == "__main__":
    main()
