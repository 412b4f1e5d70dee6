"""What a dialect is: another service's form of a rerank, as a pure translation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field

from rerankq.rerank_form import Compatible
from rerankq.schema import JobRequest, Problem, Result, absent

Asked = TypeVar("Asked", bound=Compatible)

# An example that every dialect shows in its own form.
QUERY = "how do I stop a service?"
TEXTS = ("systemctl stop NAME ends a unit.", "Knead the dough for ten minutes.")
MODEL = "Qwen/Qwen3-Reranker-0.6B"
ID = "job_019abc0de4f0a1b2c3d4e5f60718293a4b5c6d7e"
CREATED = 1_767_605_400
TOKENS = 186


@dataclass(frozen=True, slots=True)
class Ranked:
    """A job that succeeded.

    Attributes:
        created: Unix seconds.
        tokens: scored, without padding.
        truncated: how many documents were cut to fit.
        results: best first, as many as were asked for.
    """

    id: str
    model: str
    created: int
    tokens: int
    truncated: int
    results: Sequence[Result]


# Makes an answer from the rankings of a request's jobs, in their order.
Answering = Callable[[Sequence[Ranked]], BaseModel]


class BareResult(BaseModel):
    """One document's place, where it comes back as a bare string: index and relevance."""

    relevance_score: float
    index: int
    document: str | None = Field(None, exclude_if=absent)


def bare_results(job: Ranked, documents: Sequence[str] | None) -> list[BareResult]:
    """Best first.

    Args:
        documents: of the request, if they are to come back.
    """
    return [
        BareResult(
            relevance_score=result.relevance_score,
            index=result.index,
            document=None if documents is None else documents[result.index],
        )
        for result in job.results
    ]


def never(_: object) -> None:
    """No request of this dialect forbids that a text is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect(Generic[Asked]):
    """One service's form. Nothing in it waits, reads or writes.

    Attributes:
        name: as the documents head its table.
        paths: that are answered in it.
        sign: a field that its bodies have and no other dialect's of the same path.
        summary: for OpenAPI.
        request: of a body, lenient where the service is.
        answered: of an answer.
        example: a body, and its answer.
        jobs: what a body asks for: one job a query, each with its documents.
        answering: what makes the answer. It is kept while the jobs are waited for, and may hold no
            more of the request than the answer takes.
        error: the members that its clients read of an error, beside RFC 9457's.
        statuses: its own for some of ours.
        uncut: the field, if any, by which a body forbids that a document is cut to fit the model.
    """

    name: str
    paths: tuple[str, ...]
    sign: str
    summary: str
    request: type[Asked]
    answered: type[BaseModel]
    example: tuple[Any, Any]
    jobs: Callable[[Asked], list[JobRequest]]
    answering: Callable[[Asked], Answering]
    error: Callable[[Problem], dict[str, Any]]
    statuses: Mapping[int, int] = field(default_factory=dict)
    uncut: Callable[[Asked], str | None] = never


_KINDS = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    413: "BadRequestError",
    422: "BadRequestError",
    429: "RateLimitError",
    503: "ServiceUnavailableError",
}


def error_object(problem: Problem) -> dict[str, Any]:
    """What OpenAI's clients read under `error`, as vLLM and Infinity fill it."""
    unnamed = "BadRequestError" if problem.status < 500 else "InternalServerError"
    return {
        "message": problem.detail,
        "type": _KINDS.get(problem.status, unnamed),
        "param": problem.field,
        "code": problem.status,
    }
