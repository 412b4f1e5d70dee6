"""One module a format: what reads it, and what writes it."""

from __future__ import annotations

from typing import Any

from rerankq.bulk.formats import jsonl, msmarco, openai, parquet, rank_llm, trec
from rerankq.bulk.records import Bad, Reader, Writer
from rerankq.bulk.spec import InputFormat, OutputFormat
from rerankq.bulk.unpacking import plain_name

_READERS: dict[InputFormat, Reader] = {
    "jsonl": jsonl.READER,
    "rank_llm": rank_llm.READER,
    "msmarco": msmarco.READER,
    "trec": trec.READER,
    "parquet": parquet.READER,
    "openai": openai.READER,
}
_WRITERS: dict[OutputFormat, Writer] = {
    "jsonl": jsonl.WRITER,
    "rank_llm": rank_llm.WRITER,
    "msmarco": msmarco.WRITER,
    "trec": trec.WRITER,
    "parquet": parquet.WRITER,
    "openai": openai.WRITER,
}
# rank_llm's and OpenAI's files are .jsonl too, and have to be asked for.
_SUFFIXES: dict[str, InputFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".tsv": "msmarco",
    ".run": "trec",
    ".trec": "trec",
}


def reader(name: InputFormat) -> Reader:
    return _READERS[name]


def writer(name: OutputFormat) -> Writer:
    return _WRITERS[name]


def error_line(name: InputFormat, bad: Bad, line: int) -> dict[str, Any]:
    """A bad line as the errors file has it.

    Args:
        line: in the whole input, counted from 1.
    """
    if name == "openai":
        return openai.error_line(bad, line)
    known = {} if bad.query_id is None else {"id": bad.query_id}
    return {"line": line, **known, "code": bad.code, "detail": bad.detail}


def guess(url: str) -> InputFormat | None:
    """By the file's name, compressed or not; None: it does not tell."""
    name = plain_name(url).lower()
    return next((told for suffix, told in _SUFFIXES.items() if name.endswith(suffix)), None)
