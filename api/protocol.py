"""The server's HTTP protocol, with limits on a request's head: its size and how long it may take.

uvicorn's own has neither, so that one caller could send headers, or wait with them, without end.
"""

from __future__ import annotations

import asyncio
import uuid

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.problems import MEDIA_TYPE, problem

MOST_HEAD_BYTES = 64 * 1024
HEAD_WITHIN_S = 30.0


class Protocol(HttpToolsProtocol):
    """Counts what arrives until a head is complete.

    The read in which a head begins may bring the end of the request before, and is not counted; so
    a head may in truth be one read (at most 256 KiB) larger than the limit.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head, self._begun, self._head_bytes = True, False, 0
        self._due = self.loop.call_later(HEAD_WITHIN_S, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._due.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._begun = False
        super().data_received(data)
        if self._in_head and not self._begun:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
                detail = f"the head of a request is over the limit of {MOST_HEAD_BYTES} bytes"
                self._refuse(431, "head_too_large", detail)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # Of a connection's first head the time began with the connection.
        if not self._in_head:
            self._due = self.loop.call_later(HEAD_WITHIN_S, self._too_slow)
        self._in_head, self._begun, self._head_bytes = True, True, 0

    def on_headers_complete(self) -> None:
        self._due.cancel()
        self._in_head = False
        super().on_headers_complete()

    def _too_slow(self) -> None:
        if self.scope is None:  # nothing came at all: a browser that connected in advance
            self.transport.close()
            return
        detail = f"the head of the request did not come within {HEAD_WITHIN_S:g} s"
        self._refuse(408, "head_too_slow", detail)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        body = problem(status, code, detail, field="head")
        request_id = f"req_{uuid.uuid4().hex}"
        content = body.model_copy(update={"request_id": request_id}).model_dump_json()
        lines = (
            f"HTTP/1.1 {status} {body.title}",
            f"content-type: {MEDIA_TYPE}",
            f"content-length: {len(content)}",
            f"x-request-id: {request_id}",
            "connection: close",
            "",
            content,
        )
        self.transport.write("\r\n".join(lines).encode())
        self.transport.close()
