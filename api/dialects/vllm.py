"""vLLM's score: pairs in, scores out in the same order.

https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html#score-api. Its rerank is the
majority's form, see `api.dialects.cohere`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from api.dialects.base import (
    CREATED,
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
from rerankq.fields import DocumentText, Query, countable, wrong_field
from rerankq.rerank_form import RerankUsage, Scoring
from rerankq.schema import JobRequest, Problem

MOST_QUERIES = 1_000  # different ones in a request; each becomes a job
NAMES = (  # of both sides, by the version of the service
    ("queries", "documents"),
    ("queries", "items"),
    ("text_1", "text_2"),
    ("data_1", "data_2"),
)


def _as_list(value: object) -> object:
    return countable([value] if isinstance(value, str) else value)


_OneOrMore = BeforeValidator(_as_list, json_schema_input_type=str | list[str])
_Some = Field(fail_fast=True, min_length=1)
_Queries = Annotated[list[Query], _Some, _OneOrMore]
_Texts = Annotated[list[DocumentText], _Some, _OneOrMore]


def _side(same_as: str | None = None) -> Any:
    described = "A text, or a list of them." if same_as is None else f"As `{same_as}`."
    return Field(None, description=described)


class ScoreRequest(Scoring):
    """A query with a text, one with each of many, or as many pairs as there are of both."""

    queries: _Queries | None = _side()
    documents: _Texts | None = _side()
    items: _Texts | None = _side("documents")
    text_1: _Queries | None = _side("queries")
    text_2: _Texts | None = _side("documents")
    data_1: _Queries | None = _side("queries")
    data_2: _Texts | None = _side("documents")

    @model_validator(mode="after")
    def _one_pair_of_sides(self) -> Self:
        given = {name for names in NAMES for name in names if getattr(self, name) is not None}
        sides = [names for names in NAMES if given.issuperset(names)]
        if not sides:
            raise wrong_field(_lacking(given), "is required")
        if len(given) > 2:
            extra = min(given.difference(sides[0]))
            raise wrong_field(extra, "is one side too many: two make the pairs")
        queries, texts = self.sides
        if len(queries) not in (1, len(texts)):
            raise PydanticCustomError(
                "unpaired",
                "{texts} given for {queries} of {field_1}; one query, or as many as texts",
                {
                    "field": sides[0][1],
                    "field_1": sides[0][0],
                    "queries": len(queries),
                    "texts": len(texts),
                    "limit": len(queries),
                },
            )
        if len(different := set(queries)) > MOST_QUERIES:
            raise PydanticCustomError(
                "too_many",
                "{count} different ones; the limit is {limit}",
                {"field": sides[0][0], "count": len(different), "limit": MOST_QUERIES},
            )
        return self

    @property
    def sides(self) -> tuple[list[str], list[str]]:
        """Queries and texts, whatever they are called."""
        for first, second in NAMES:
            queries, texts = getattr(self, first), getattr(self, second)
            if queries is not None and texts is not None:
                return queries, texts
        raise AssertionError("validated")

    @property
    def names(self) -> dict[str, str]:
        queries = next(n for n, _ in NAMES if getattr(self, n) is not None)
        return super().names | {"query": queries}

    @property
    def grouped(self) -> dict[str, list[int]]:
        """The texts' places by the query that they are scored for."""
        queries, texts = self.sides
        if len(queries) == 1:
            return {queries[0]: list(range(len(texts)))}
        groups: dict[str, list[int]] = {}
        for place, query in enumerate(queries):
            groups.setdefault(query, []).append(place)
        return groups


def _lacking(given: set[str]) -> str:
    """The side that is missing, as the one that is there would have it called."""
    for first, second in NAMES:
        if first in given:
            return second
        if second in given:
            return first
    return NAMES[0][0]


class Score(BaseModel):
    """One pair's, by its place in the request."""

    index: int
    object: Literal["score"] = "score"
    score: float


class ScoreResponse(BaseModel):
    """In the request's order. `created` in Unix seconds; `truncated`, ours: how many were cut."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[Score]
    usage: RerankUsage
    truncated: int


def _jobs(request: ScoreRequest) -> list[JobRequest]:
    _, texts = request.sides
    return [
        JobRequest(
            query=query,
            documents=[texts[place] for place in places],
            instruction=request.task,
            model=request.model,
            raw_scores=request.raw,
            max_tokens_per_doc=request.max_tokens_per_doc or None,
        )
        for query, places in request.grouped.items()
    ]


def _answering(request: ScoreRequest) -> Answering:
    groups = list(request.grouped.values())

    def answer(ranked: Sequence[Ranked]) -> ScoreResponse:
        scores = {
            places[result.index]: result.relevance_score
            for places, job in zip(groups, ranked, strict=True)
            for result in job.results
        }
        tokens = sum(job.tokens for job in ranked)
        return ScoreResponse(
            id=ranked[0].id,
            created=ranked[0].created,
            model=ranked[0].model,
            data=[Score(index=place, score=scores[place]) for place in sorted(scores)],
            usage=RerankUsage(prompt_tokens=tokens, total_tokens=tokens),
            truncated=sum(job.truncated for job in ranked),
        )

    return answer


def _error(problem: Problem) -> dict[str, Any]:
    """Under `error`, and beside it as its older versions had it."""
    return {
        "object": "error",
        "message": problem.detail,
        "param": problem.field,
        "error": error_object(problem),
    }


SCORE = Dialect(
    name="vLLM score",
    paths=("/v1/score", "/score"),
    sign="documents",
    summary="In the form of vLLM's score: the scores of pairs, in the order of the request.",
    request=ScoreRequest,
    answered=ScoreResponse,
    example=(
        {"model": MODEL, "queries": QUERY, "documents": list(TEXTS)},
        {
            "id": ID,
            "object": "list",
            "created": CREATED,
            "model": MODEL,
            "data": [
                {"index": 0, "object": "score", "score": 0.991},
                {"index": 1, "object": "score", "score": 0.0004},
            ],
            "usage": {"prompt_tokens": TOKENS, "total_tokens": TOKENS},
            "truncated": 0,
        },
    ),
    jobs=_jobs,
    answering=_answering,
    error=_error,
)
