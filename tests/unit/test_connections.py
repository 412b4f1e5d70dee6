"""Heads of requests that never end."""

from __future__ import annotations

import asyncio
import json

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from api import connections
from api.connections import Connection

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def slow_app(_: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0.3)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def said(*parts: bytes, pause_s: float = 0.0) -> bytes:
    """All that is answered to the parts, until the connection is closed."""
    config = uvicorn.Config(slow_app, log_config=None)
    config.load()
    state = ServerState()
    async with await asyncio.get_running_loop().create_server(
        lambda: Connection(config, state, {}), "127.0.0.1", 0
    ) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        return answer


@pytest.mark.parametrize(
    "parts",
    [[b"GET / HTTP/1.1\r\nX: "], [b"\r\n"], [REQUEST, b"GET"], [REQUEST, b"\r\n"]],
    ids=["half a header", "an empty line", "a second half", "an empty line behind one"],
)
def test_a_head_that_does_not_come_ends_its_connection(
    monkeypatch: pytest.MonkeyPatch, parts: list[bytes]
) -> None:
    monkeypatch.setattr(
        connections, "HEAD_WITHIN_S", 0.4
    )  # a busy loop must not close before it reads
    answer = asyncio.run(said(*parts, pause_s=0.8))
    answered, _, refused = answer.rpartition(b"HTTP/1.1 ")
    assert refused.startswith(b"408 ")
    assert (b"204" in answered) == (REQUEST in parts)
    assert json.loads(refused.partition(b"\r\n\r\n")[2])["code"] == "headers_too_slow"


def test_one_that_says_nothing_is_just_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.1)
    assert asyncio.run(said()) == b""


def test_half_a_head_does_not_overtake_the_answer_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.1)
    answer = asyncio.run(said(REQUEST + b"GET"))
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"204", b"408"]


def test_the_body_of_a_request_that_was_answered_early_is_no_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.1)
    post = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 4\r\n\r\n"
    keep = post.replace(b"Connection: close\r\n", b"")
    closing = REQUEST[:-2] + b"Connection: close\r\n\r\n"
    answer = asyncio.run(said(keep, b"1", b"2", b"3", b"4" + closing, pause_s=0.25))
    assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"204", b"204"]


def test_an_answer_may_take_longer_than_a_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.1)
    closing = REQUEST[:-2] + b"Connection: close\r\n\r\n"
    answer = asyncio.run(said(REQUEST, closing, pause_s=0.4))
    assert answer.count(b"HTTP/1.1 204") == 2
    assert b"408" not in answer


def test_a_head_behind_unanswered_requests_is_not_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_WITHIN_S", 0.1)
    half, rest = REQUEST[:9], REQUEST[9:-2] + b"Connection: close\r\n\r\n"
    answer = asyncio.run(said(REQUEST + REQUEST + half, rest, pause_s=0.2))
    assert answer.count(b"HTTP/1.1 204") == 3
    assert b"408" not in answer


def test_a_large_body_behind_its_head_is_no_large_head() -> None:
    body = b"x" * (2 * connections.MOST_HEAD_BYTES)
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    closing = REQUEST[:-2] + b"Connection: close\r\n\r\n"
    assert asyncio.run(said(post + post + closing)).count(b"HTTP/1.1 204") == 3


def test_a_head_may_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_HEAD_BYTES", 2 * len(REQUEST))
    closing = REQUEST[:-2] + b"Connection: close\r\n\r\n"
    answer = asyncio.run(said(*(bytes([byte]) for byte in 3 * REQUEST + closing)))
    assert answer.count(b"HTTP/1.1 204") == 4
