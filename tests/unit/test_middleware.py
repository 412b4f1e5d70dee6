"""Bodies that never end."""

from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from api import middleware
from api.middleware import BodyLimit
from api.problems import Refusal


def test_a_body_that_stalls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "LONGEST_PAUSE_S", 0.05)
    parts: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass

    async def receive() -> Message:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop()

    async def send(message: Message) -> None:
        raise AssertionError(message)

    with pytest.raises(Refusal) as caught:
        asyncio.run(
            BodyLimit(app, limit=100, larger={})(
                {"type": "http", "path": "/", "headers": []}, receive, send
            )
        )
    assert caught.value.problem.status == 408
    assert caught.value.problem.field == "body"


def test_waiting_for_the_caller_to_leave_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "LONGEST_PAUSE_S", 0.05)
    parts: list[Message] = [{"type": "http.disconnect"}, {"type": "http.request", "body": b"{}"}]
    got: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append((await receive())["type"])
        got.append((await receive())["type"])

    async def receive() -> Message:
        if len(parts) == 1:
            await asyncio.sleep(0.2)
        return parts.pop()

    async def send(message: Message) -> None:
        raise AssertionError(message)

    asyncio.run(
        BodyLimit(app, limit=100, larger={})(
            {"type": "http", "path": "/", "headers": []}, receive, send
        )
    )
    assert got == ["http.request", "http.disconnect"]
