"""Every error a caller can meet.

RerankqError
├── APIError               the service refused; carries its problem
│   ├── InvalidRequest     400, 422
│   ├── Unauthorized       401
│   ├── Forbidden          403
│   ├── NotFound           404
│   ├── TooLarge           413
│   ├── Overloaded         429, retried until the time is up
│   └── Unavailable        503, retried until the time is up
├── ConnectionFailed       the service could not be reached
├── JobNotFinished         the wait ended before the job did
├── JobFailed              the job ended otherwise than succeeded
├── SettingsError          a RERANKQ_* variable is wrong
├── UsageError             a command that cannot be carried out as it is written
└── DecodeError            a record in Redis is not one of ours
    └── LaterVersion       it is, but a later version's: another process can read it

Across processes an error is data, a `Problem`; it becomes one of these where a caller meets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rerankq.schema import Job, Problem


class RerankqError(Exception):
    """The root of everything this package raises."""


class APIError(RerankqError):
    """The service refused the call.

    Attributes:
        problem: the service's own words, RFC 9457 with a stable `code`.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem


class InvalidRequest(APIError):
    """The request is wrong; `problem.field` and `problem.limit` say where. Do not retry."""


class Unauthorized(APIError):
    """No API key, or a wrong one."""


class Forbidden(APIError):
    """The key is valid, and is no operator's."""


class NotFound(APIError):
    """No such job or model, or it belongs to another key, or its result's time is over."""


class TooLarge(APIError):
    """The body, the number of documents or one document is over its limit."""


class Overloaded(APIError):
    """The backlog is full. Retry after the time the service named."""


class Unavailable(APIError):
    """Redis is away, or no answer came in time. Retry after the time the service named."""


class ConnectionFailed(RerankqError):
    """The service could not be reached."""


class JobNotFinished(RerankqError):
    """The wait ended before the job did. The job goes on: wait again, or cancel it."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} is still {job.status}")
        self.job = job


class JobFailed(RerankqError):
    """The job is final and has no ranking.

    Attributes:
        job: the job; `job.error` is the problem.
    """

    def __init__(self, job: Job) -> None:
        reason = f": {job.error.detail}" if job.error else ""
        super().__init__(f"job {job.id} {job.status}{reason}")
        self.job = job


class SettingsError(RerankqError):
    """A setting is wrong. The message names the variable, its value and what is allowed."""


class UsageError(RerankqError):
    """A command cannot be carried out as it is written; nothing was begun."""


class DecodeError(RerankqError):
    """Bytes in Redis that this version cannot read.

    Attributes:
        data: the bytes, untouched.
    """

    def __init__(self, reason: str, data: bytes) -> None:
        super().__init__(reason)
        self.data = data


class LaterVersion(DecodeError):
    """A record that a later version of this package wrote; while both run, the other reads it."""
