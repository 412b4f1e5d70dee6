"""Infinity: the majority's form, but that a document comes back as a bare string.

https://github.com/michaelfeil/infinity, libs/infinity_emb/infinity_emb/fastapi_schemas
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.dialects.base import (
    CREATED,
    ID,
    MODEL,
    QUERY,
    TEXTS,
    TOKENS,
    Answering,
    BareResult,
    Dialect,
    Ranked,
    bare_results,
    error_object,
)
from rerankq.rerank_form import Compatible, PlainDocuments, RankedFor, RerankUsage
from rerankq.schema import JobRequest, Problem

ANY_MODEL = "default/not-specified"  # its client sends this for a model that nobody named


class InfinityRequest(Compatible):
    """Documents are strings only."""

    query: RankedFor
    documents: PlainDocuments
    top_n: int | None = Field(None, ge=0, description="Return the best n only. 0: all.")
    return_documents: bool | None = None
    raw_scores: bool | None = Field(None, description="Log-odds instead of probabilities.")


class InfinityResponse(BaseModel):
    """The ranking, best first. `created` in Unix seconds."""

    object: Literal["rerank"] = "rerank"
    results: list[BareResult]
    model: str
    usage: RerankUsage
    id: str
    created: int


def _jobs(request: InfinityRequest) -> list[JobRequest]:
    return [
        JobRequest(
            query=request.query,
            documents=list(request.documents),
            instruction=request.task,
            top_n=request.top_n or None,
            model=None if request.model == ANY_MODEL else request.model,
            raw_scores=bool(request.raw_scores),
        )
    ]


def _answering(request: InfinityRequest) -> Answering:
    documents = request.documents if request.return_documents else None

    def answer(ranked: Sequence[Ranked]) -> InfinityResponse:
        (job,) = ranked
        return InfinityResponse(
            results=bare_results(job, documents),
            model=job.model,
            usage=RerankUsage(prompt_tokens=job.tokens, total_tokens=job.tokens),
            id=job.id,
            created=job.created,
        )

    return answer


def _error(problem: Problem) -> dict[str, Any]:
    return {"error": error_object(problem)}


INFINITY = Dialect(
    name="Infinity",
    paths=("/infinity/rerank",),
    sign="documents",
    summary="In the form of Infinity.",
    request=InfinityRequest,
    answered=InfinityResponse,
    example=(
        {"query": QUERY, "documents": list(TEXTS), "top_n": 1, "return_documents": True},
        {
            "object": "rerank",
            "results": [{"relevance_score": 0.991, "index": 0, "document": TEXTS[0]}],
            "model": MODEL,
            "usage": {"prompt_tokens": TOKENS, "total_tokens": TOKENS},
            "id": ID,
            "created": CREATED,
        },
    ),
    jobs=_jobs,
    answering=_answering,
    error=_error,
)
