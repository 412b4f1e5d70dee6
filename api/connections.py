"""A connection before it is a request: what uvicorn bounds in no way is bounded here."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api.problems import MEDIA_TYPE, problem
from rerankq.schema import Problem

MOST_HEAD_BYTES = 64 * 1024  # and what one read may bring on top
HEAD_WITHIN_S = 30.0


class Connection(HttpToolsProtocol):
    """Ends a connection whose head is too long or too slow, and refuses with a problem.

    Counted are bytes that bring nothing on: those of a head until it is complete, and behind it
    what is no part of a body (trailers, extensions of chunks). 30 MB of headers took 500 MB.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle_bytes = 0
        self._in_head = self._in_body = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._idle_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._idle_bytes > MOST_HEAD_BYTES:
            detail = f"the headers are over the limit of {MOST_HEAD_BYTES} bytes"
            self._refuse(problem(431, "too_large", detail, field="headers", limit=MOST_HEAD_BYTES))
        elif self._in_head or (self._idle_bytes and not self._in_body):
            self._watch()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # a trailer is no header, and there is no end to them
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._unwatch()
        self._in_head, self._in_body = False, True
        self._idle_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._idle_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._deadline is not None:  # of a head that could not be read until now
            self._unwatch()
            self._watch()

    def send_400_response(self, msg: str) -> None:
        self._refuse(problem(400, "invalid_http", msg))

    def _watch(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_WITHIN_S, self._too_slow)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.flow.read_paused or self._answering:
            self._watch()
        elif not self._in_head and not self._idle_bytes:
            # Connected in advance: a later request would take a refusal for its answer.
            self.transport.close()
        elif not self.transport.is_closing():
            detail = f"the headers were not complete within {HEAD_WITHIN_S:g} s"
            self._refuse(problem(408, "headers_too_slow", detail, limit=HEAD_WITHIN_S))

    @property
    def _answering(self) -> bool:
        """A request from before is not answered yet, and must be first."""
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, body: Problem) -> None:
        """By hand: there is no request that the application could answer."""
        request_id = f"req_{uuid.uuid4().hex}"
        content = body.model_copy(update={"request_id": request_id}).model_dump_json().encode()
        headers = {
            "content-type": MEDIA_TYPE,
            "content-length": str(len(content)),
            "x-request-id": request_id,
            "connection": "close",
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(STATUS_LINE[body.status] + head.encode() + b"\r\n" + content)
        self.transport.close()
