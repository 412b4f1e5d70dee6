"""MS MARCO's candidates, `qid pid query passage` by tabs, and its runs, `qid pid rank`.

The candidates of a query are consecutive lines, in the order in which they were retrieved.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from rerankq.bulk.chunks import Chunk, byte_chunks
from rerankq.bulk.formats import keyed
from rerankq.bulk.formats.checks import Wrong, decoded, not_blank
from rerankq.bulk.formats.results import places
from rerankq.bulk.formats.text import LineWriter
from rerankq.bulk.lines import Run
from rerankq.bulk.records import Bad, Record, Scored
from rerankq.bulk.spec import BatchSpec

_FORM = "qid, pid, query and passage, separated by tabs"


def _key(line: bytes) -> bytes | None:
    columns = line.split(b"\t", 3)
    return columns[0].strip() or None if len(columns) == 4 else None


class _Reader(keyed.Keyed):
    def chunks(self, spec: BatchSpec, most_bytes: int) -> Iterator[Chunk]:
        yield from byte_chunks(keyed.present_and_fitting(spec, _key, _FORM), most_bytes)

    def read(self, spec: BatchSpec, chunk: Chunk) -> Iterator[Record | Bad]:
        yield from keyed.records(spec, chunk, _key, _FORM, partial(_read, spec), spec.depth)


def _read(spec: BatchSpec, run: Run) -> Iterator[Record | Bad]:
    query_id = query = None
    texts: list[str] = []
    ids: list[str] = []
    first = run.lines[0].number
    # Each line goes as its text comes: both together are twice what a large query takes.
    run.lines.reverse()
    while run.lines:
        line = run.lines.pop()
        try:
            columns = decoded(line.text or b"").split("\t", 3)
            query_id = columns[0].strip()
            query = query or not_blank(columns[2], "query")
        except Wrong as error:
            yield error.bad(line.number, query_id)
            continue
        ids.append(columns[1].strip())
        texts.append(columns[3])
    if query is not None:
        yield Record(first, query, texts, query_id, ids)


def _lines(spec: BatchSpec, scored: Scored) -> Iterator[str]:
    for place in places(spec, scored):
        yield f"{scored.record.query_id}\t{place.document}\t{place.rank}"


READER = _Reader()
WRITER = LineWriter(".tsv", _lines)
