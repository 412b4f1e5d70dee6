"""The limits on a request's head, where waiting for the real ones would take too long."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from api import protocol
from tests.conftest import eventually


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(protocol, "HEAD_WITHIN_S", 0.3)
    config = uvicorn.Config(app, port=0, http=protocol.Protocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)


def all_of(raw: socket.socket) -> bytes:
    answer = b""
    while part := raw.recv(65_536):
        answer += part
    return answer


def test_a_head_that_does_not_come_in_time_ends(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost")
        answer = all_of(raw)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"head_too_slow"' in answer


def test_the_second_of_a_connection_is_timed_too(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(65_536).startswith(b"HTTP/1.1 204")
        raw.sendall(b"GET / HTTP")
        assert b" 408 " in all_of(raw)


def test_one_that_says_nothing_is_just_closed(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        assert all_of(raw) == b""


def test_a_large_body_with_its_head_in_one_read_is_no_large_head(port: int) -> None:
    body = b"x" * (2 * protocol.MOST_HEAD_BYTES)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall((head + body) * 2 + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert all_of(raw).count(b"HTTP/1.1 204") == 3
