"""JSON lines: `{id?, query, documents: [str or {text, id?}], instruction?, ...}`.

Out comes the same without `documents`, and with `results`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rerankq.bulk.formats.checks import Wrong, id_of, kind, not_blank, text_of, wrong
from rerankq.bulk.formats.results import results
from rerankq.bulk.formats.text import JsonLines, LineWriter, json_line
from rerankq.bulk.records import Record, Scored
from rerankq.bulk.spec import BatchSpec

# What Parquet's readers and ours know by these names; all else is carried through.
NOT_CARRIED = ("documents", "results")
_SAME_FORM = ("jsonl", "parquet")


def _record(spec: BatchSpec, line: int, fields: dict[str, Any]) -> Record:
    carried = {name: value for name, value in fields.items() if name not in NOT_CARRIED}
    return record(spec, line, fields, carried)


def record(
    spec: BatchSpec, line: int, fields: Mapping[str, Any], carried: Mapping[str, Any]
) -> Record:
    """
    Raises: Wrong.
    """
    documents, ids = _documents(fields.get("documents"), spec.depth)
    instruction = fields.get("instruction")
    return Record(
        line=line,
        query=not_blank(fields.get("query"), "query"),
        documents=documents,
        query_id=id_of(fields.get("id"), "id"),
        ids=ids,
        source=carried,
        instruction=None if instruction is None else not_blank(instruction, "instruction"),
    )


def _documents(given: object, depth: int | None) -> tuple[list[str], Sequence[str | None] | None]:
    if not isinstance(given, list):
        raise wrong(f"documents must be an array, not {kind(given)}")
    if not given:
        raise wrong("documents must not be empty")
    texts: list[str] = []
    ids: list[str | None] = []
    for place, document in enumerate(given[:depth]):
        field = f"documents[{place}]"
        if isinstance(document, Mapping):
            texts.append(text_of(document.get("text"), f"{field}.text"))
            ids.append(id_of(document.get("id"), f"{field}.id"))
        elif isinstance(document, str):
            texts.append(text_of(document, field))
            ids.append(None)
        else:
            raise wrong(f"{field} must be a string or an object with text, not {kind(document)}")
    return texts, ids if any(name is not None for name in ids) else None


def name_of(fields: Mapping[str, Any]) -> str | None:
    """The record's id, if it is one."""
    try:
        return id_of(fields.get("id"), "id")
    except Wrong:
        return None


def _lines(spec: BatchSpec, scored: Scored) -> Iterator[str]:
    told: dict[str, Any] = {}
    if spec.input_format in _SAME_FORM:
        told.update(scored.record.source)
    else:
        if scored.record.query_id is not None:
            told["id"] = scored.record.query_id
        told["query"] = scored.record.query
    told["results"] = results(spec, scored)
    yield json_line(told)


READER = JsonLines(_record, name_of)
WRITER = LineWriter(".jsonl", _lines)
