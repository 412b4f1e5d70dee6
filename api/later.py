"""Responses that are waited for: as such, and not in a route, so that no body is held meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.telemetry import get_telemetry_data
from starlette.types import Receive, Scope, Send


class Later(Response):
    """One that is made when the route has returned.

    Until then the framework holds the body, its JSON and what was read from it: of hundreds of
    callers that wait, hundreds of megabytes.

    Args:
        request: the body of which is let go.
        make: given what the caller sends from now on, makes the response. Holds nothing of the
            body that it does not need. What it raises is answered as if a route had raised it.
    """

    def __init__(self, request: Request, make: Callable[[Receive], Awaitable[Response]]) -> None:
        super().__init__()
        self._make = make
        _let_go_of_body(request)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._make(receive)
        await response(scope, receive, send)


def _let_go_of_body(request: Request) -> None:
    # The framework keeps the request itself until the response has been sent.
    for name in ("_body", "_json"):
        vars(request).pop(name, None)
    traced = get_telemetry_data()
    if traced is not None:
        traced.body = traced.values = None
