"""rank_llm's JSON lines: `{"query": {"text", "qid"}, "candidates": [{"docid", "score", "doc"}]}`.

Out comes the same with the candidates in our order, and our log-odds as their scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rerankq.bulk.formats.checks import Wrong, id_of, kind, not_blank, text_of, wrong
from rerankq.bulk.formats.results import document_name, places
from rerankq.bulk.formats.text import JsonLines, LineWriter, json_line
from rerankq.bulk.records import Record, Scored
from rerankq.bulk.spec import BatchSpec

# In rank_llm's own order.
_BODIES = ("text", "segment", "contents", "content", "body", "passage")


def _record(spec: BatchSpec, line: int, fields: dict[str, Any]) -> Record:
    query = fields.get("query")
    if not isinstance(query, dict):
        raise wrong(f"query must be an object with text and qid, not {kind(query)}")
    candidates = fields.get("candidates")
    if not isinstance(candidates, list):
        raise wrong(f"candidates must be an array, not {kind(candidates)}")
    if not candidates:
        raise wrong("candidates must not be empty")
    if (qid := id_of(query.get("qid"), "query.qid")) is None:
        raise wrong("query.qid is missing")
    read = [_candidate(one, f"candidates[{i}]") for i, one in enumerate(candidates[: spec.depth])]
    return Record(
        line=line,
        query=not_blank(query.get("text"), "query.text"),
        documents=[text for text, _ in read],
        query_id=qid,
        ids=[name for _, name in read],
        source=fields,
    )


def _candidate(given: object, field: str) -> tuple[str, str]:
    """Its text and its id."""
    if not isinstance(given, dict):
        raise wrong(f"{field} must be an object, not {kind(given)}")
    if (name := id_of(given.get("docid"), f"{field}.docid")) is None:
        raise wrong(f"{field}.docid is missing")
    return _text(given.get("doc"), f"{field}.doc"), name


def _text(doc: object, field: str) -> str:
    """As rank_llm puts it into its prompts."""
    if not isinstance(doc, dict):
        return text_of(doc, field)
    body = next((name for name in _BODIES if name in doc), None)
    if body is None:
        raise wrong(f"{field} has none of {', '.join(_BODIES)}")
    text = text_of(doc[body], f"{field}.{body}")
    if doc.get("title"):
        text = f"Title: {text_of(doc['title'], f'{field}.title')} Content: {text}"
    return text.strip()


def _name(fields: dict[str, Any]) -> str | None:
    query = fields.get("query")
    try:
        return id_of(query.get("qid"), "query.qid") if isinstance(query, Mapping) else None
    except Wrong:
        return None


def _lines(spec: BatchSpec, scored: Scored) -> Iterator[str]:
    record = scored.record
    if spec.input_format == "rank_llm":
        given = record.source["candidates"]
        ranked = [{**given[one.at], "score": one.score} for one in places(spec, scored)]
        yield json_line({**record.source, "candidates": ranked})
        return
    candidates = [
        {
            "docid": document_name(scored, one.at),
            "score": one.score,
            "doc": {"text": record.documents[one.at]},
        }
        for one in places(spec, scored)
    ]
    query = {"text": record.query, "qid": record.query_id}
    yield json_line({"query": query, "candidates": candidates})


READER = JsonLines(_record, _name)
WRITER = LineWriter(".jsonl", _lines)
