"""A ranking, as JSON lines and Parquet have it, and as runs have it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from rerankq.bulk.records import Record, Scored
from rerankq.bulk.spec import BatchSpec
from rerankq.scores import shown


def results(spec: BatchSpec, scored: Scored) -> list[dict[str, Any]]:
    """Best first: `index`, `id`?, `relevance_score`, `document`?, `truncated`?, as a job's are."""
    spec = as_asked(spec, scored.record)
    cut = set(scored.truncated)
    told: list[dict[str, Any]] = []
    for place in scored.ranking(spec.top_k):
        result: dict[str, Any] = {"index": place}
        if scored.record.ids is not None and scored.record.ids[place] is not None:
            result["id"] = scored.record.ids[place]
        result["relevance_score"] = shown(scored.log_odds[place], spec.raw_scores)
        if spec.return_documents:
            result["document"] = {"text": scored.record.documents[place]}
        if place in cut:
            result["truncated"] = True
        told.append(result)
    return told


def as_asked(spec: BatchSpec, record: Record) -> BatchSpec:
    """The batch's options, but for those that a request of OpenAI's form has of its own."""
    if spec.input_format != "openai" or not record.source:
        return spec
    return spec.model_copy(update=record.source)


class Place(NamedTuple):
    """A document's place in a run.

    Attributes:
        at: its index in the record.
        document: its id, or its index where it has none.
        score: log-odds, strictly falling.
    """

    rank: int
    at: int
    document: str
    score: float


def places(spec: BatchSpec, scored: Scored) -> Iterator[Place]:
    """A run's lines of one query: each document once, at its best place, ranks from 1.

    Evaluators sort by score alone, break ties by name and may hold scores in 32 bits. So a score
    that ties is lowered by as little as 32 bits can show: what is evaluated is our order.
    """
    spec = as_asked(spec, scored.record)
    named: set[str] = set()
    above: float | None = None
    for index in scored.ranking(None):
        document = document_name(scored, index)
        if document in named:
            continue
        score = scored.log_odds[index]
        if above is not None and _single(score) >= _single(above):
            score = _below(_single(above))
        named.add(document)
        yield Place(len(named), index, document, score)
        above = score
        if len(named) == spec.top_k:
            return


def document_name(scored: Scored, index: int) -> str:
    told = scored.record.ids[index] if scored.record.ids is not None else None
    return str(index) if told is None else told


def _single(number: float) -> float:
    """Rounded to 32 bits."""
    told: float = struct.unpack("<f", struct.pack("<f", number))[0]
    return told


def _below(number: float) -> float:
    """The next lower number of 32 bits."""
    bits: int = struct.unpack("<i", struct.pack("<f", number))[0]
    if number == 0:
        bits = -0x7FFFFFFF  # the smallest negative one
    else:
        bits += -1 if number > 0 else 1
    told: float = struct.unpack("<f", struct.pack("<i", bits))[0]
    return told
