"""TREC runs, `qid Q0 docid rank score tag` or `qid docid score`, over BEIR's files.

The texts come from corpus.jsonl (`{_id, title, text}`) and queries.jsonl (`{_id, text}`). The
candidates of a query are consecutive lines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from rerankq.bulk import storage
from rerankq.bulk.chunks import Chunk, byte_chunks
from rerankq.bulk.formats import keyed
from rerankq.bulk.formats.checks import Wrong, decoded, not_blank, text_of, too_large
from rerankq.bulk.formats.results import places
from rerankq.bulk.formats.text import LineWriter
from rerankq.bulk.index import Index, index
from rerankq.bulk.lines import MOST_BYTES, Line, Run
from rerankq.bulk.records import Bad, BadInput, Record, Scored
from rerankq.bulk.spec import BatchSpec

_FORM = "`qid Q0 docid rank score tag` or `qid docid score`"
_COLUMNS = (3, 6)
_SAMPLE = 64 << 10  # bytes of the run, to know how long its lines are


def _key(line: bytes) -> bytes | None:
    columns = line.split()
    return columns[0] if len(columns) in _COLUMNS else None


class _Candidate(NamedTuple):
    """A line of the run, in the order of its fields: rank, or else falling score."""

    order: float
    line: int
    document: str


class _Reader(keyed.Keyed):
    def chunks(self, spec: BatchSpec, most_bytes: int) -> Iterator[Chunk]:
        size = keyed.present_and_fitting(spec, _key, _FORM)
        corpus, _ = _indexes(spec)
        yield from byte_chunks(size, most_bytes, _weight(spec, corpus))

    def read(self, spec: BatchSpec, chunk: Chunk) -> Iterator[Record | Bad]:
        corpus, queries = _indexes(spec)
        read = partial(_read, spec, corpus, queries)
        yield from keyed.records(spec, chunk, _key, _FORM, read)


def _indexes(spec: BatchSpec) -> tuple[Index, Index]:
    """Of the corpus and the queries; built by whoever needs them first.

    Raises: BadInput: one of the files is not given or cannot be used; OSError.
    """
    if spec.corpus is None or spec.queries is None:
        raise BadInput("missing_corpus", "a TREC run needs a corpus and queries to read texts from")
    corpus = index(spec.corpus, storage.join(spec.work, "corpus.index"))
    return corpus, index(spec.queries, storage.join(spec.work, "queries.index"))


def _weight(spec: BatchSpec, corpus: Index) -> float:
    """Bytes to score that a byte of the run stands for, from the mean document."""
    sample = storage.read(spec.input, 0, _SAMPLE)
    line = len(sample) / max(1, sample.count(b"\n"))
    document = corpus.size / corpus.count
    return max(1.0, document / max(1.0, line))


def _read(spec: BatchSpec, corpus: Index, queries: Index, run: Run) -> Iterator[Record | Bad]:
    candidates: list[_Candidate] = []
    first = run.lines[0].number
    try:
        query_id = decoded(run.key or b"")
        query = _query(queries, query_id, spec)
    except Wrong as error:
        yield error.bad(first, (run.key or b"").decode(errors="replace"))
        return
    for line in run.lines:
        try:
            candidates.append(_candidate(line))
        except Wrong as error:
            yield error.bad(line.number, query_id)
    candidates = sorted(candidates)[: spec.depth]
    texts: list[str] = []
    ids: list[str] = []
    size = 0
    found = corpus.records([one.document for one in candidates])
    for one, document in zip(candidates, found, strict=True):
        try:
            texts.append(_text(document, one.document, spec))
            ids.append(one.document)
        except Wrong as error:
            yield error.bad(one.line, query_id)
            continue
        size += len(texts[-1].encode())
        if size > MOST_BYTES:
            yield too_large(first, query_id)
            return
    if texts:
        yield Record(first, query, texts, query_id, ids)


def _candidate(line: Line) -> _Candidate:
    # Split as bytes: other white space than ASCII's is part of a name.
    columns = [decoded(column) for column in (line.text or b"").split()]
    try:
        if len(columns) == 3:
            order = -float(columns[2])
            document = columns[1]
        else:
            order = float(int(columns[3]))
            document = columns[2]
    except ValueError:
        what = "score" if len(columns) == 3 else "rank"
        raise Wrong("invalid_record", f"the {what} is not a number") from None
    if not math.isfinite(order):
        raise Wrong("invalid_record", "the score is not a finite number")
    return _Candidate(order, line.number, document)


def _query(queries: Index, query_id: str, spec: BatchSpec) -> str:
    (record,) = queries.records([query_id])
    if record is None:
        detail = f"query {query_id} is not in {storage.name(spec.queries or '')}"
        raise Wrong("missing_query", detail)
    return not_blank(record.get("text"), f"text of query {query_id}")


def _text(record: dict[str, Any] | None, name: str, spec: BatchSpec) -> str:
    if record is None:
        detail = f"document {name} is not in {storage.name(spec.corpus or '')}"
        raise Wrong("missing_document", detail)
    text = text_of(record.get("text"), f"text of document {name}")
    title = record.get("title")
    return f"{text_of(title, f'title of document {name}')}\n{text}" if title else text


def _lines(spec: BatchSpec, scored: Scored) -> Iterator[str]:
    for rank, _, document, score in places(spec, scored):
        yield f"{scored.record.query_id} Q0 {document} {rank} {score!r} {spec.tag}"


READER = _Reader()
WRITER = LineWriter(".trec", _lines)
