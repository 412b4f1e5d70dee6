"""Text Embeddings Inference.

https://github.com/huggingface/text-embeddings-inference, router/src/http
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, Field, RootModel

from api.dialects.base import QUERY, TEXTS, Answering, Dialect, Ranked
from rerankq.fields import only
from rerankq.rerank_form import Compatible, PlainDocuments, RankedFor
from rerankq.schema import JobRequest, Problem, absent


class TeiRequest(Compatible):
    """`model`, `top_n` and the instruction are ours; litellm sends `top_n` and relies on it."""

    query: RankedFor
    texts: PlainDocuments
    truncate: bool | None = Field(
        None, description="False: 422 if a text had to be cut to fit the model."
    )
    truncation_direction: Annotated[
        str | None,
        only("what does not fit the model is cut off a text's end", "right", "Right"),
    ] = None
    raw_scores: bool | None = Field(None, description="Log-odds instead of probabilities.")
    return_text: bool | None = None
    top_n: int | None = Field(None, ge=0, description="Return the best n only. 0: all.")


class Rank(BaseModel):
    """One text's place: its index in the request and how relevant it is."""

    index: int
    text: str | None = Field(None, exclude_if=absent)
    score: float


class TeiRanks(RootModel[list[Rank]]):
    """The ranking, best first."""


def _jobs(request: TeiRequest) -> list[JobRequest]:
    return [
        JobRequest(
            query=request.query,
            documents=list(request.texts),
            instruction=request.task,
            top_n=request.top_n or None,
            model=request.model,
            raw_scores=bool(request.raw_scores),
        )
    ]


def _answering(request: TeiRequest) -> Answering:
    texts = request.texts if request.return_text else None

    def answer(ranked: Sequence[Ranked]) -> TeiRanks:
        (job,) = ranked
        return TeiRanks(
            [
                Rank(
                    index=result.index,
                    text=None if texts is None else texts[result.index],
                    score=result.relevance_score,
                )
                for result in job.results
            ]
        )

    return answer


def _error(problem: Problem) -> dict[str, Any]:
    return {"error": problem.detail, "error_type": _kind(problem.status)}


def _kind(status: int) -> str:
    """As the service itself spells them, though its documents do not."""
    if status == 429:
        return "Overloaded"
    if status == 503:
        return "Unhealthy"
    return "Backend" if status >= 500 or status == 424 else "Validation"


TEI = Dialect(
    name="TEI",
    paths=("/rerank",),
    sign="texts",
    summary="In the form of Text Embeddings Inference.",
    request=TeiRequest,
    answered=TeiRanks,
    example=(
        {"query": QUERY, "texts": list(TEXTS), "return_text": True},
        [
            {"index": 0, "text": TEXTS[0], "score": 0.991},
            {"index": 1, "text": TEXTS[1], "score": 0.0004},
        ],
    ),
    jobs=_jobs,
    answering=_answering,
    error=_error,
    statuses={500: 424},
    uncut=lambda request: "truncate" if request.truncate is False else None,
)
