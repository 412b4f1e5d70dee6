"""What no HTTP library would send, byte by byte: a refusal or a closed connection, and no harm."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from scripts.localsystem import LocalSystem
from tests.conftest import eventually

ENOUGH_S = 10.0
BODY = b'{"query": "q", "documents": ["d"]}'
END = b"Connection: close\r\n\r\n"
HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n" + END
CLOSED = -1


def head(length: int) -> bytes:
    return HEAD + f"Content-Length: {length}\r\n".encode() + END


# What is sent, and the statuses it may be answered with; CLOSED: not at all.
ABUSE: dict[str, tuple[bytes, set[int]]] = {
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00" * 20 + b"\r\n\r\n", {400, CLOSED}),
    "http 0.9": (b"GET /\r\n\r\n", {200, 400, CLOSED}),
    "a header without end": (
        b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 2**20 + b"\r\n\r\n",
        {431},
    ),
    "ten thousand headers": (
        b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 10_000 + END,
        {200, 400, 431, CLOSED},
    ),
    "bytes in the path": (
        b"GET /v1/jobs/\xff\xfe HTTP/1.1\r\nHost: x\r\n" + END,
        {400, 404, CLOSED},
    ),
    "bytes in the query": (b"GET /v1/jobs?limit=%ff%00 HTTP/1.1\r\nHost: x\r\n" + END, {400, 422}),
    "bytes in a header": (
        HEAD + b"Idempotency-Key: \xff\xfe\r\nContent-Length: 34\r\n" + END + BODY,
        {202, 400, 422},
    ),
    "bytes in the body": (head(4) + b'{"\xff\xfe', {400}),
    "nul in the body": (head(4) + b'"\x00\x01"', {400, 422}),
    "not a number": (head(13) + b'{"query": NaN', {400}),
    "infinity": (
        head(62) + b'{"query": "q", "documents": ["d"], "expires_in": Infinity    }',
        {400, 422},
    ),
    "a number without end": (
        head(50_040) + b'{"query": "q", "documents": ["d"], "top_n": ' + b"9" * 49_994 + b"} ",
        {400, 422},
    ),
    "a hundred thousand lists": (head(200_000) + b"[" * 100_000 + b"]" * 100_000, {400, 422}),
    "a length that is no number": (HEAD + b"Content-Length: x\r\n\r\n" + BODY, {400, CLOSED}),
    "two lengths": (
        HEAD + b"Content-Length: 34\r\nContent-Length: 3\r\n\r\n" + BODY,
        {400, CLOSED},
    ),
    "a length and chunks": (
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" + END + b"0\r\n\r\n",
        {400, 422, CLOSED},
    ),
    "a chunk without a size": (CHUNKED + b"zz\r\nabc\r\n", {400, CLOSED}),
    "a chunk of the largest size, cut short": (
        CHUNKED + b"ffffffffffffffff\r\nabc\r\n",
        {400, CLOSED},
    ),
    "a chunk cut short": (CHUNKED + b"22\r\n" + BODY[:10], {400, CLOSED}),
    "a body cut short": (head(34) + BODY[:10], {400, CLOSED}),
    "a key twice": (head(47) + b'{"query": 1, "query": "q", "documents": ["d"]}\n', {202}),
}


def api(system: LocalSystem) -> psutil.Process:
    process = system.child("api").process
    assert process is not None
    return psutil.Process(process.pid)


@contextlib.contextmanager
def connected(system: LocalSystem) -> Iterator[socket.socket]:
    address = urlsplit(system.url)
    with socket.create_connection((address.hostname, address.port), timeout=ENOUGH_S) as raw:
        yield raw


def exchange(system: LocalSystem, data: bytes, *, cut_short: bool = False) -> bytes:
    """Everything that is answered until the other side closes; cut short, our end closes first."""
    answer = b""
    with connected(system) as raw, contextlib.suppress(ConnectionError):
        raw.sendall(data)
        if cut_short:
            raw.shutdown(socket.SHUT_WR)
        while part := raw.recv(65_536):
            answer += part
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else CLOSED


@pytest.mark.parametrize("kind", ABUSE)
def test_abuse_is_refused(kind: str, demo_system: LocalSystem) -> None:
    before = api(demo_system)
    data, allowed = ABUSE[kind]
    answer = exchange(demo_system, data, cut_short="cut short" in kind)
    assert status(answer) in allowed, answer[:500]
    assert b"Traceback" not in answer
    # uvicorn itself refuses what is no HTTP, in plain text; what reaches us, we answer.
    if status(answer) in (400, 422) and b"Invalid HTTP request" not in answer:
        assert b"application/problem+json" in answer
    assert api(demo_system).pid == before.pid
    assert httpx.get(f"{demo_system.url}/livez").status_code == 200


def test_pipelined_requests_are_answered_in_order(demo_system: LocalSystem) -> None:
    one = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = exchange(demo_system, one * 20 + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n" + END)
    statuses = [int(line.split()[1]) for line in answer.splitlines() if line.startswith(b"HTTP/1")]
    assert statuses == [200] * 20 + [404]


def test_slow_and_broken_callers_hold_nothing(demo_system: LocalSystem) -> None:
    """Two hundred that dribble, and five hundred that leave in the middle."""
    process = api(demo_system)
    httpx.get(f"{demo_system.url}/livez")
    files, memory = process.num_fds(), process.memory_info().rss
    with contextlib.ExitStack() as slow:
        for _ in range(200):
            raw = slow.enter_context(connected(demo_system))
            raw.sendall(head(34) + BODY[:5])
        assert httpx.get(f"{demo_system.url}/livez", timeout=ENOUGH_S).status_code == 200
        job = {"query": "q", "documents": ["d"]}
        waited = httpx.post(f"{demo_system.url}/v1/rerank", json=job, timeout=ENOUGH_S)
        assert waited.status_code == 200
    for _ in range(500):
        with connected(demo_system) as raw:
            raw.sendall(CHUNKED + b"22\r\n" + BODY[:10])
    eventually(lambda: process.num_fds() <= files + 8, ENOUGH_S)
    assert process.memory_info().rss - memory < 50e6
