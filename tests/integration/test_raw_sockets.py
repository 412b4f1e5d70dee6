"""Bytes that no HTTP client would send: refused or cut off, and the process is as it was."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from tests.conftest import StartSystem, eventually

PATIENCE_S = 5.0
MOST_GROWTH_MB = 40.0
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
CLOSE = b"Connection: close\r\n"
JOB = b'{"query": "q", "documents": ["d"]}'
CLOSED = None  # no answer, only the end of the connection


@dataclass
class Api:
    """The process under abuse."""

    port: int
    process: psutil.Process

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def connections(self) -> int:
        found = self.process.net_connections("tcp")
        return sum(c.laddr.port == self.port and c.status == "ESTABLISHED" for c in found)

    def memory_mb(self) -> float:
        return float(self.process.memory_info().rss / 1e6)


@pytest.fixture(scope="module")
def api(start_system: StartSystem) -> Iterator[Api]:
    system = start_system(workers=0, max_body_bytes="4194304")
    process = system.child("api").process
    assert process is not None
    api = Api(int(system.url.rpartition(":")[2]), psutil.Process(process.pid))
    for _ in range(20):
        exchange(api, POST + CLOSE + b"Content-Length: %d\r\n\r\n" % len(JOB) + JOB)
    files, memory = api.process.num_fds(), api.memory_mb()
    yield api
    eventually(lambda: api.connections() == 0, PATIENCE_S)
    assert api.process.num_fds() <= files + 5
    assert api.memory_mb() < memory + MOST_GROWTH_MB


@pytest.fixture(autouse=True)
def lives_on(api: Api) -> Iterator[None]:
    """A process that is not restarted: one that died would answer nobody from then on."""
    yield
    assert exchange(api, GET + CLOSE + b"\r\n").startswith(b"HTTP/1.1 200 ")


def exchange(api: Api, *parts: bytes, end: bool = False) -> bytes:
    """Send what is accepted of the parts, and read until the other side closes.

    Args:
        end: say that nothing more comes.
    """
    with api.connect() as connection:
        answer = bytearray()
        try:
            for part in parts:
                connection.sendall(part)
            if end:
                connection.shutdown(socket.SHUT_WR)
        except ConnectionError:  # it was refused before all of it was sent
            pass
        try:
            while part := connection.recv(65_536):
                answer += part
        except ConnectionError:
            pass
        return bytes(answer)


def refused(answer: bytes, statuses: Sequence[int | None]) -> None:
    """One problem, or none at all where that is expected."""
    if not answer:
        assert CLOSED in statuses
        return
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    problem: dict[str, Any] = json.loads(content)
    assert headers["content-type"] == "application/problem+json"
    assert int(first.split()[1]) == problem["status"]
    assert problem["status"] in statuses
    assert problem["request_id"] == headers["x-request-id"]


@pytest.mark.parametrize(
    "parts",
    [
        [GET, b"X: ", *[b"x" * 65_536] * 16, b"\r\n\r\n"],
        [GET, *[b"X: y\r\n" * 8_192] * 16, b"\r\n"],
        [b"GET /", *[b"x" * 65_536] * 16, b" HTTP/1.1\r\n\r\n"],
        [CHUNKED, b"2\r\n{}\r\n0\r\n", *[b"X: y\r\n" * 8_192] * 16, b"\r\n"],
        [CHUNKED, b"2\r\n{}\r\n0\r\nX: ", *[b"x" * 65_536] * 16, b"\r\n\r\n"],
        [CHUNKED, b"2;", *[b"x" * 65_536] * 16, b"\r\n{}\r\n0\r\n\r\n"],
    ],
    ids=["one header", "many headers", "a path", "many trailers", "one trailer", "an extension"],
)
def test_a_megabyte_beside_the_body_is_refused(api: Api, parts: list[bytes]) -> None:
    # Cut off while it still sends, a caller may see no answer.
    refused(exchange(api, *parts), (431, CLOSED))


def test_headers_over_their_limit_are_told_so(api: Api) -> None:
    refused(exchange(api, GET + b"X: " + b"x" * 65_536), (431,))


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff\x13\x37\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[/livez HTTP/1.1\r\n\r\n",
        b"GET /v1/jobs/\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET /v1/jobs?cursor=\xff\xfe HTTP/1.1\r\n\r\n",
        GET + b"X: a\x00b\r\n\r\n",
        GET + b"no colon\r\n\r\n",
        GET + b" folded: x\r\n\r\n",
        (GET + b"\r\n") * 3 + b"\x00\r\n\r\n",
    ],
    ids=[
        *("garbage", "TLS", "HTTP/2", "a version", "CONNECT", "a URL", "a path", "a query"),
        *("a null byte", "no colon", "folding", "garbage behind good requests"),
    ],
)
def test_what_is_no_http_is_400(api: Api, line: bytes) -> None:
    refused(exchange(api, line), (400,))


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 0x10\r\n\r\n",
        b"Content-Length: 99999999999999999999\r\n\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}   ",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}garbage\r\n",
    ],
    ids=[
        *("negative", "hexadecimal", "too long for a number", "twice", "two framings"),
        *("a chunk's size", "a negative chunk", "a huge chunk", "a chunk's end"),
    ],
)
def test_a_wrong_length_is_400(api: Api, framing: bytes) -> None:
    refused(exchange(api, POST + framing), (400,))


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        GET,
        POST + b"Content-Length: 100\r\n\r\n",
        POST + b"Content-Length: 100\r\n\r\n" + JOB,
        POST + b"Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        CHUNKED + b"10\r\n{",
        CHUNKED + b"10",
    ],
    ids=["nothing", "a head", "no body", "a body", "a body not begun", "a chunk", "a chunk's size"],
)
def test_what_breaks_off_is_let_go(api: Api, beginning: bytes) -> None:
    answer = exchange(api, beginning, end=True)
    refused(answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"), (CLOSED, 400))
    for _ in range(20):
        with api.connect() as connection:
            connection.sendall(beginning)
    eventually(lambda: api.connections() == 0, PATIENCE_S)


def test_more_than_was_declared_is_the_next_request(api: Api) -> None:
    answer = exchange(api, POST + b"Content-Length: %d\r\n\r\n" % len(JOB) + JOB + b"{}\r\n\r\n")
    assert answer.count(b"HTTP/1.1 ") <= 2
    refused(b"HTTP/1.1 " + answer.rpartition(b"HTTP/1.1 ")[2], (400,))


def test_less_than_was_declared_is_read_as_what_it_is(api: Api) -> None:
    length = b"Content-Length: %d\r\n\r\n" % (len(JOB) - 1)
    refused(exchange(api, POST + CLOSE + length + JOB[:-1]), (400,))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"query": "\xff", "documents": ["d"]}', 400),
        (b'{"query": "\x00", "documents": ["d"]}', 400),
        (b'{"query": "q", "documents": ["d"], "top_n": ' + b"9" * 5_000 + b"}", 400),
        (b'{"query": "q", "documents": ["d"], "expires_in": ' + b"9" * 400 + b"}", 422),
        (b'{"query": "q", "documents": ["d"], "metadata": ' + b'{"a":' * 100_000, 400),
        (b'{"query": "q", "documents": ' + b"[" * 500 + b"]" * 500 + b"}", 422),
        (b'{"query": "q", "documents": ["d"], "metadata": {"a": [-Infinity]}}', 422),
        (b'{"query": NaN, "documents": ["d"]}', 422),
        (b"Infinity", 422),
        (b'{"query": "q", "query": 7, "documents": ["d"]}', 422),
    ],
    ids=[
        *("not UTF-8", "a null byte", "a huge integer", "a huge number", "deep objects"),
        *("deep lists", "Infinity", "NaN", "Infinity alone", "the last of two keys"),
    ],
)
@pytest.mark.parametrize("path", [b"/v1/jobs", b"/v1/rerank"])
def test_a_wrong_body_is_a_problem(api: Api, path: bytes, body: bytes, status: int) -> None:
    if path == b"/v1/rerank" and any(field in body for field in (b"metadata", b"expires_in")):
        body = body.replace(b'"documents": ["d"]', b'"documents": []')  # it ignores these fields
    head = POST.replace(b"/v1/jobs", path) + CLOSE + b"Content-Length: %d\r\n\r\n" % len(body)
    refused(exchange(api, head + body), (status,))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v1/jobs?cursor=%ff%fe&status=%c0%80 HTTP/1.1\r\n", 422),
        (b"GET /v1/jobs?limit=" + b"9" * 5_000 + b" HTTP/1.1\r\n", 422),
        (b"GET /v1/jobs/job_0?wait=nan HTTP/1.1\r\n", 422),
        (b"GET /v1/jobs/job_0?wait=1e999 HTTP/1.1\r\n", 422),
        (b"GET /v1/jobs/%00%ff HTTP/1.1\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\n", 404),
        (b"POST /v1/jobs HTTP/1.1\r\nContent-Type: \xff/\xfe; charset=\xff\r\n", 415),
        (POST + b"Idempotency-Key: " + b"\xff" * 300 + b"\r\n", 422),
    ],
    ids=["query", "limit", "NaN", "Infinity", "path", "asterisk", "media type", "header"],
)
def test_wrong_bytes_in_a_head_are_a_problem(api: Api, head: bytes, status: int) -> None:
    body = b"Content-Length: %d\r\n\r\n" % len(JOB) + JOB if head.startswith(b"POST") else b"\r\n"
    refused(exchange(api, head + CLOSE + body), (status,))


def test_requests_in_a_row_are_answered_in_order(api: Api) -> None:
    names = [b"n%d" % n for n in range(200)]
    row = b"".join(GET + b"X-Request-ID: " + name + b"\r\n\r\n" for name in names)
    answer = exchange(api, row + GET + CLOSE + b"\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == len(names) + 1
    assert [answer.find(b": %b\r\n" % name) for name in names] == sorted(
        answer.find(b": %b\r\n" % name) for name in names
    )


def test_slow_bodies_hold_up_nobody(api: Api) -> None:
    slow = [api.connect() for _ in range(50)]
    for connection in slow:
        connection.sendall(POST + CLOSE + b"Content-Length: %d\r\n\r\n" % len(JOB) + JOB[:1])
    eventually(lambda: api.connections() >= len(slow), PATIENCE_S)
    started = time.monotonic()
    for _ in range(10):
        length = b"Content-Length: %d\r\n\r\n" % len(JOB)
        assert exchange(api, POST + CLOSE + length + JOB).startswith(b"HTTP/1.1 202 ")
    assert time.monotonic() - started < PATIENCE_S
    for connection in slow:
        for byte in JOB[1:]:
            connection.sendall(bytes([byte]))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 202 ")
        connection.close()
