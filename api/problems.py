"""Every refusal, as RFC 9457 problem details with a stable code, the field and the limit."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from api import dialects
from rerankq import logs, tls
from rerankq.errors import LaterVersion
from rerankq.ledger.connection import may_pass
from rerankq.schema import Problem
from rerankq.words import in_words

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
OPENAI = ("/v1/files", "/v1/batches")
REDIS_RETRY_S = 2
ENDING_RETRY_S = 1  # by when another process answers on this address
DOCUMENTS = ("documents", "texts", "items", "text_2", "data_2")  # their names in requests
MOST_FIELD = 300  # characters of a field's path: a caller's own key can be of any length


class Refusal(HTTPException):
    """Ends a request with a problem.

    Args:
        status: HTTP status.
        code: stable, for programs.
        detail: one sentence for people.
        field: the offending part of the request, dotted.
        limit: what it may be at most.
        retry_after: seconds, sent as `Retry-After`.
        challenge: how to say who calls, sent as `WWW-Authenticate` (RFC 9110, 11.6.1).
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str | None = None,
        limit: float | str | None = None,
        retry_after: int | None = None,
        challenge: str | None = None,
    ) -> None:
        given = {"Retry-After": retry_after, "WWW-Authenticate": challenge}
        headers = {name: str(value) for name, value in given.items() if value is not None}
        super().__init__(status, detail, headers)
        self.problem = problem(status, code, detail, field=field, limit=limit)

    def with_names(self, names: Mapping[str, str]) -> Self:
        """The same, its field by the name that the caller's own body has for it."""
        field = self.problem.field
        if field is not None and (name := names.get(field)) is not None:
            detail = self.problem.detail
            if detail.startswith(f"{field}:"):
                detail = name + detail.removeprefix(field)
            self.problem = self.problem.model_copy(update={"field": name, "detail": detail})
        return self


def problem(status: int, code: str, detail: str, **more: Any) -> Problem:
    """A problem whose title is the status's own phrase, as RFC 9457 asks of `about:blank`."""
    return Problem(title=HTTPStatus(status).phrase, status=status, code=code, detail=detail, **more)


BUG = problem(500, "internal", "an error of ours; the log has it by the request's id")
STOPPING = problem(503, "stopping", "this process is being stopped; try again")


def response(body: Problem, headers: dict[str, str] | None = None) -> Response:
    request_id = logs.request_id.get() or None
    return _Told(body.model_copy(update={"request_id": request_id}), headers)


class _Told(Response):
    """A problem; on other services' paths with the members that their clients read as well."""

    def __init__(self, body: Problem, headers: dict[str, str] | None) -> None:
        super().__init__(body.model_dump_json(), body.status, headers, MEDIA_TYPE)
        self._problem = body
        self._given = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(OPENAI):
            status, members = self._problem.status, _openai(self._problem)
        else:
            status, members = dialects.error_form(scope, self._problem)
        if not members and status == self._problem.status:
            await super().__call__(scope, receive, send)
            return
        told = self._problem.model_copy(
            update={"status": status, "title": HTTPStatus(status).phrase}
        )
        content = json.dumps(told.model_dump(mode="json") | members)
        await Response(content, status, self._given, MEDIA_TYPE)(scope, receive, send)


def _openai(told: Problem) -> dict[str, Any]:
    kind = "invalid_request_error" if told.status < 500 else "server_error"
    error = {"message": told.detail, "type": kind, "param": told.field, "code": told.code}
    return {"error": error}


def refused(refusal: Refusal) -> Response:
    return response(refusal.problem, dict(refusal.headers or {}))


def install(app: FastAPI) -> None:
    """Answer every refusal with a problem; what is no refusal is the middleware's."""
    app.exception_handler(HTTPException)(_on_http)
    app.exception_handler(RequestValidationError)(_on_invalid)
    app.exception_handler(RedisError)(_on_redis)
    app.exception_handler(LaterVersion)(_on_later_version)


async def _on_http(request: Request, error: HTTPException) -> Response:
    headers = dict(error.headers or {})
    if isinstance(error, Refusal):
        return refused(error)
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
    codes = {400: "invalid_json", 404: "not_found", 405: "method_not_allowed"}
    code = codes.get(error.status_code, "http_error")
    field = "body" if code == "invalid_json" else None
    return response(problem(error.status_code, code, str(error.detail), field=field), headers)


def _methods(request: Request) -> list[str]:
    """What may be done with this path; the framework names the methods of one route only."""
    methods: set[str] = set()
    for route in (*request.app.state.routes, *request.app.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods)


async def _on_invalid(request: Request, error: RequestValidationError) -> Response:
    dialects.recognise(request.scope, error.body)
    first = error.errors()[0]
    # The first part says body, query or header; parts in brackets are the schema's own tags.
    where = [part for part in map(str, first["loc"]) if not part.startswith("(")]
    media_type = request.headers.get("Content-Type", "none").partition(";")[0].strip().lower()
    if where == ["body"] and not media_type.endswith("json"):
        # The framework reads any other type as a text, and would complain of that.
        detail = f"Content-Type: must be application/json, not {media_type}"
        return response(problem(415, "unsupported_media_type", detail, field="Content-Type"))
    parts = where[1:]
    if "field" in first.get("ctx", {}):  # an error of the whole body
        parts.append(first["ctx"]["field"])
    field = ".".join(parts)[:MOST_FIELD]
    if first["type"] == "json_invalid":
        detail = f"body: is not JSON: {_reason(first)}"
        return response(problem(400, "invalid_json", detail, field="body"))
    limit = _limit(first)
    counted = "count" in first.get("ctx", {})
    too_large = first["type"] == "too_large" and (counted or field.startswith(DOCUMENTS))
    status, code = (413, "too_large") if too_large else (422, "invalid_request")
    detail = f"{field or 'body'}: {in_words(first)}"
    return response(problem(status, code, detail, field=field or "body", limit=limit))


def _reason(first: Any) -> str:
    return str(first.get("ctx", {}).get("error", first["msg"]))


def _limit(first: Any) -> float | str | None:
    context = first.get("ctx", {})
    names = ("limit", "le", "lt", "ge", "gt", "max_length", "min_length", "expected")
    return next((context[name] for name in names if name in context), None)


async def _on_redis(_: Request, error: RedisError) -> Response:
    return away(error)


def away(error: RedisError) -> Response:
    """Raises: the error, if Redis answered and did not like the question: a bug of ours."""
    if not may_pass(error):
        raise error
    log.warning("redis is away", extra={"reason": tls.reason(error)})
    body = problem(503, "queue_unavailable", "the queue's Redis does not answer; try again")
    return response(body, {"Retry-After": str(REDIS_RETRY_S)})


async def _on_later_version(_: Request, error: LaterVersion) -> Response:
    # While a new version is rolled out, another replica can answer.
    detail = "the job was written by a later version of this service; try again"
    return response(problem(503, "later_version", detail), {"Retry-After": str(REDIS_RETRY_S)})
