"""Voyage: the ranking lies in `data`, and a document comes back as a bare string.

https://docs.voyageai.com/reference/reranker-api. Its official client works on `/v1/rerank`, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from api.dialects.base import (
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
)
from rerankq.rerank_form import Compatible, PlainDocuments, RankedFor, RerankUsage
from rerankq.schema import JobRequest, Problem


class VoyageRequest(Compatible):
    """Documents are strings only."""

    query: RankedFor
    documents: PlainDocuments
    top_k: int | None = Field(None, ge=1, description="Return the best n only.")
    return_documents: bool | None = None
    truncation: bool | None = Field(
        None, description="False: 422 if a document had to be cut to fit the model."
    )


class VoyageResponse(BaseModel):
    """The ranking, best first. `id` and `prompt_tokens` are ours."""

    object: Literal["list"] = "list"
    data: list[BareResult]
    model: str
    usage: RerankUsage
    id: str


def _jobs(request: VoyageRequest) -> list[JobRequest]:
    return [
        JobRequest(
            query=request.query,
            documents=list(request.documents),
            instruction=request.task,
            top_n=request.top_k,
            model=request.model,
        )
    ]


def _answering(request: VoyageRequest) -> Answering:
    documents = request.documents if request.return_documents else None

    def answer(ranked: Sequence[Ranked]) -> VoyageResponse:
        (job,) = ranked
        return VoyageResponse(
            data=bare_results(job, documents),
            model=job.model,
            usage=RerankUsage(prompt_tokens=job.tokens, total_tokens=job.tokens),
            id=job.id,
        )

    return answer


def _error(_: Problem) -> dict[str, Any]:
    """Its `detail` is the RFC's."""
    return {}


VOYAGE = Dialect(
    name="Voyage",
    paths=("/voyage/v1/rerank",),
    sign="documents",
    summary="In the form of Voyage.",
    request=VoyageRequest,
    answered=VoyageResponse,
    example=(
        {"query": QUERY, "documents": list(TEXTS), "model": MODEL, "top_k": 1},
        {
            "object": "list",
            "data": [{"relevance_score": 0.991, "index": 0}],
            "model": MODEL,
            "usage": {"prompt_tokens": TOKENS, "total_tokens": TOKENS},
            "id": ID,
        },
    ),
    jobs=_jobs,
    answering=_answering,
    error=_error,
    statuses={404: 400, 413: 400, 422: 400},  # its client knows no others for a wrong request
    uncut=lambda request: "truncation" if request.truncation is False else None,
)
