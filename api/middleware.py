"""What happens to every request: an id, a size limit, a log line, its metrics."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.auth import Keys
from api.problems import BUG, ENDING_RETRY_S, STOPPING, Refusal, refused, response
from rerankq import logs
from rerankq.fields import MOST_DOCUMENTS, most_documents

log = logging.getLogger("api.access")

_ID = re.compile(rb"[\x21-\x7e]{1,128}")
LONGEST_PAUSE_S = 30.0  # between two parts of a body
_QUIET = frozenset({"/livez", "/readyz", "/metrics", "/health"})
# What needs no key: health, metrics, and what says how to call the rest.
OPEN = _QUIET | {"/", "/docs", "/docs/oauth2-redirect", "/openapi.json"}


def _request_id(scope: Scope) -> str:
    given: bytes = dict(scope["headers"]).get(b"x-request-id", b"")
    return given.decode() if _ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def _route(scope: Scope) -> str:
    # The template, not the path: job ids must not become label values.
    return getattr(scope.get("route"), "path", "unmatched")


class RequestContext:
    """Outermost: names the request, answers with the name, counts and logs it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id, started, status = _request_id(scope), time.perf_counter(), 0
        token = logs.request_id.set(request_id)

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        metrics.HTTP_IN_PROGRESS.inc()
        try:
            await self._app(scope, receive, send_named)
        except asyncio.CancelledError:
            # The server's grace is over: a body that still came, a wait that was told too late.
            if status:
                raise
            await response(STOPPING, {"Retry-After": str(ENDING_RETRY_S)})(
                scope, receive, send_named
            )
        except Exception as error:
            # Here and not in a handler of the framework's, which would run outside of this one
            # and answer without the request's id.
            log.error("unexpected error", exc_info=error)
            if status:
                raise  # the answer has begun; cutting it off is all that is left
            await response(BUG)(scope, receive, send_named)
        finally:
            metrics.HTTP_IN_PROGRESS.dec()
            self._account(scope, status, time.perf_counter() - started)
            logs.request_id.reset(token)

    @staticmethod
    def _account(scope: Scope, status: int, seconds: float) -> None:
        route, method = _route(scope), scope["method"]
        metrics.HTTP_REQUESTS.labels(method, route, str(status)).inc()
        metrics.HTTP_SECONDS.labels(method, route).observe(seconds)
        if route not in _QUIET:
            fields = {
                "method": method,
                "route": route,
                "status": status,
                "ms": round(seconds * 1e3, 1),
            }
            log.info("request", extra=fields)


class BodyLimit:
    """Stops reading a body at its limit, or when nothing more of it comes.

    Args:
        limit: bytes.
        larger: limits of paths that have one of their own, because they hold no body in memory.
        documents: at most, of a body that is read to be validated.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        larger: Mapping[str, int],
        documents: int = MOST_DOCUMENTS,
    ) -> None:
        self._app = app
        self._limit = limit
        self._larger = larger
        self._documents = documents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._larger.get(scope["path"], self._limit)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await refused(_too_large(limit))(scope, receive, send)
            return
        read, more = 0, True

        async def receive_counted() -> Message:
            nonlocal read, more
            try:
                # Once the body is there, the next message is the caller's leaving, at any time.
                async with asyncio.timeout(LONGEST_PAUSE_S if more else None):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            more = message.get("more_body", False)
            read += len(message.get("body", b""))
            if read > limit:
                raise _too_large(limit)
            return message

        most_documents.set(self._documents)  # each request has a context of its own
        await self._app(scope, receive_counted, send)


def _too_large(limit: int) -> Refusal:
    detail = f"the body is over the limit of {limit} bytes"
    return Refusal(413, "too_large", detail, field="body", limit=limit)


def _too_slow() -> Refusal:
    detail = f"body: nothing more of it came for {LONGEST_PAUSE_S:g} s"
    return Refusal(408, "body_too_slow", detail, field="body", limit=LONGEST_PAUSE_S)


class KeyRequired:
    """Says whose a request is; refuses one without a key before any of its body is read."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
            try:
                scope["owner"] = self._keys.owner(given)
            except Refusal as refusal:
                await refused(refusal)(scope, receive, send)
                return
            if scope["path"].endswith("\n"):
                # The framework's patterns end with `$`, which a line feed may follow. All that
                # goes by the path itself (a form, a limit) would not be this request's.
                await refused(Refusal(404, "not_found", "Not Found"))(scope, receive, send)
                return
        await self._app(scope, receive, send)
