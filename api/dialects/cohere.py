"""Cohere, v1 and v2; v1 is the form that Jina, vLLM and most others have taken over.

https://docs.cohere.com/v1/reference/rerank, https://docs.cohere.com/reference/rerank,
https://api.jina.ai/redoc
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from api.dialects.base import (
    ID,
    MODEL,
    QUERY,
    TEXTS,
    TOKENS,
    Answering,
    Dialect,
    Ranked,
    error_object,
)
from rerankq.rerank_form import (
    Documents,
    RerankRequest,
    RerankResponse,
    RerankResult,
    RerankUsage,
    echo,
)
from rerankq.schema import Answer, JobRequest, Problem, Result


class RerankResponseV2(Answer):
    """The ranking, best first. `model` and `usage` are ours."""

    id: str
    model: str
    results: list[RerankResult]
    usage: RerankUsage
    meta: dict[str, Any] = Field(description="Cohere's; `truncated` is how many were cut.")


def _jobs(request: RerankRequest) -> list[JobRequest]:
    return [
        JobRequest(
            query=request.query,
            documents=list(request.texts),
            instruction=request.task,
            top_n=request.best,
            model=request.model,
            raw_scores=request.raw,
            max_tokens_per_doc=request.max_tokens_per_doc or None,
        )
    ]


def _results(documents: Documents | None, ranked: Ranked) -> list[RerankResult]:
    def one(result: Result) -> RerankResult:
        return RerankResult(
            index=result.index,
            relevance_score=result.relevance_score,
            document=None if documents is None else echo(documents[result.index]),
            truncated=result.truncated,
        )

    return [one(result) for result in ranked.results]


def _meta(version: str, truncated: int) -> dict[str, Any]:
    return {
        "api_version": {"version": version},
        "billed_units": {"search_units": 1},
        "truncated": truncated,
    }


def _answering_v1(request: RerankRequest) -> Answering:
    documents = request.documents if request.return_documents else None

    def answer(ranked: Sequence[Ranked]) -> RerankResponse:
        (job,) = ranked
        results = _results(documents, job)
        return RerankResponse(
            id=job.id,
            model=job.model,
            results=results,
            data=results,
            usage=RerankUsage(prompt_tokens=job.tokens, total_tokens=job.tokens),
            meta=_meta("1", job.truncated),
        )

    return answer


def _answering_v2(request: RerankRequest) -> Answering:
    documents = request.documents if request.return_documents else None

    def answer(ranked: Sequence[Ranked]) -> RerankResponseV2:
        (job,) = ranked
        return RerankResponseV2(
            id=job.id,
            model=job.model,
            results=_results(documents, job),
            usage=RerankUsage(prompt_tokens=job.tokens, total_tokens=job.tokens),
            meta=_meta("2", job.truncated),
        )

    return answer


def _error_v2(problem: Problem) -> dict[str, Any]:
    return {"id": problem.request_id, "message": problem.detail}


def _error_v1(problem: Problem) -> dict[str, Any]:
    """Jina's and Voyage's `detail` is among the RFC's members."""
    return {
        **_error_v2(problem),
        "object": "error",
        "param": problem.field,
        "error": error_object(problem),
    }


def _uncut(request: RerankRequest) -> str | None:
    return "truncation" if request.truncation is False else None


_BODY = {"query": QUERY, "documents": list(TEXTS), "top_n": 1}
_RANKED = {
    "id": ID,
    "model": MODEL,
    "results": [{"index": 0, "relevance_score": 0.991}],
    "usage": {"prompt_tokens": TOKENS, "total_tokens": TOKENS},
}

V1 = Dialect(
    name="Cohere v1, Jina, vLLM",
    paths=("/v1/rerank", "/rerank"),
    sign="documents",
    summary="In the form of Cohere v1, Jina and vLLM; Voyage's client finds its `data`, too.",
    request=RerankRequest,
    answered=RerankResponse,
    example=(
        _BODY,
        {**_RANKED, "object": "rerank", "data": _RANKED["results"], "meta": _meta("1", 0)},
    ),
    jobs=_jobs,
    answering=_answering_v1,
    error=_error_v1,
    uncut=_uncut,
)

V2 = Dialect(
    name="Cohere v2",
    paths=("/v2/rerank",),
    sign="documents",
    summary="In the form of Cohere v2.",
    request=RerankRequest,
    answered=RerankResponseV2,
    example=({"model": MODEL, **_BODY}, {**_RANKED, "meta": _meta("2", 0)}),
    jobs=_jobs,
    answering=_answering_v2,
    error=_error_v2,
    uncut=_uncut,
)
