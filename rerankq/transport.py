"""How a call to the service is made and made again: pure decisions, no input or output.

`attempts` yields what to do next (send, or sleep) and is told what came of it, so the blocking and
the asynchronous client share every rule.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from rerankq import errors
from rerankq.schema import Problem

M = TypeVar("M", bound=BaseModel)

RETRY_FOR_S = 30.0  # unless the caller says otherwise
RETRIED_STATUS = frozenset({429, 502, 503, 504})
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0

_BY_STATUS: dict[int, type[errors.APIError]] = {
    400: errors.InvalidRequest,
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.NotFound,
    413: errors.TooLarge,
    422: errors.InvalidRequest,
    429: errors.Overloaded,
    503: errors.Unavailable,
}


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request now."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait, then ask again what to do."""

    seconds: float


Outcome = httpx.Response | httpx.TransportError | None


def attempts(retry_for: float) -> Generator[Send | Sleep, Outcome, httpx.Response]:
    """Drive one call to its end.

    Yields Send (answer with the response or the transport's error) and Sleep (answer with None).

    Args:
        retry_for: seconds in which refusals that may pass are met with another try.

    Returns: the response, whatever its status.

    Raises:
        ConnectionFailed: the last try did not reach the service.
    """
    deadline = time.monotonic() + retry_for
    pause = FIRST_PAUSE_S
    while True:
        outcome = yield Send()
        response = outcome if isinstance(outcome, httpx.Response) else None
        if response is not None and response.status_code not in RETRIED_STATUS:
            return response
        seconds = max(retry_after(response) or 0.0, pause * random.uniform(0.5, 1.0))
        if time.monotonic() + seconds > deadline:
            if response is not None:
                return response
            raise errors.ConnectionFailed(f"cannot reach the service: {outcome}")
        yield Sleep(seconds)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def retry_after(response: httpx.Response | None) -> float | None:
    """Seconds the service asked for, given as a number or as an HTTP date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After") if response is not None else None
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def parsed(model: type[M], response: httpx.Response) -> M:
    """The answer's body.

    Raises:
        ConnectionFailed: it is not this service's; something else answers at that URL.
    """
    try:
        return model.model_validate_json(response.content)
    except ValidationError:
        raise errors.ConnectionFailed(f"no rerankq service answers at {response.url}") from None


def check(response: httpx.Response) -> httpx.Response:
    """The response, if it is a success. The body must have been read.

    Raises:
        APIError: one of its classes, by status.
    """
    if response.is_success:
        return response
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        # A proxy in between answered, not the service.
        status, reason = response.status_code, response.reason_phrase
        problem = Problem(title=reason, status=status, code="not_ours", detail=response.text[:200])
    raise _BY_STATUS.get(response.status_code, errors.APIError)(problem)
