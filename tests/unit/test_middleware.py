"""Bodies that never end, and requests that are ended."""

from __future__ import annotations

import asyncio
import json

import pytest
from starlette.types import Message, Receive, Scope, Send

from api import middleware
from api.middleware import BodyLimit, RequestContext
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


def test_what_the_end_of_the_process_cuts_off_is_told_so() -> None:
    """And not left to the server, whose 500 no client tries again."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def run() -> list[Message]:
        told: list[Message] = []

        async def receive() -> Message:
            raise AssertionError

        async def send(message: Message) -> None:
            told.append(message)

        scope = {"type": "http", "method": "POST", "path": "/v2/rerank", "headers": []}
        request = asyncio.create_task(RequestContext(app)(scope, receive, send))
        await asyncio.sleep(0)
        request.cancel()
        await request
        return told

    head, body = asyncio.run(run())
    assert head["status"] == 503
    assert dict(head["headers"])[b"retry-after"] == b"1"
    assert {"code", "id", "message"} <= json.loads(body["body"]).keys(), "in the path's form"


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
