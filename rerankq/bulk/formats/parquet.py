"""Parquet: the columns of JSON lines. A chunk is a range of rows, a part a file of its own.

Small row groups are not cut. A large one is: each of its chunks is read from the group's beginning,
since there is no other way into it, in a bounded memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, BinaryIO, NamedTuple

from rerankq.bulk import storage
from rerankq.bulk.chunks import Chunk
from rerankq.bulk.extras import extra
from rerankq.bulk.formats.checks import Wrong, fitted
from rerankq.bulk.formats.jsonl import NOT_CARRIED, name_of, record
from rerankq.bulk.formats.results import results
from rerankq.bulk.formats.text import json_line
from rerankq.bulk.inputs import present
from rerankq.bulk.records import Bad, BadInput, Record, Scored
from rerankq.bulk.spec import BatchSpec

_READ = ("id", "query", "documents", "instruction")
_ROWS = 256  # made into Python's objects at a time
_BUFFER = 2 << 20  # bytes of a column read at a time; all of a row group's without it
# Of a row group. Each reads half of it on the average, to throw that away.
_MOST_PIECES = 256


def _pyarrow() -> Any:
    return extra("pyarrow", "Parquet")


@contextmanager
def _opened(url: str) -> Iterator[Any]:
    """
    Raises: BadInput: it is not a whole Parquet file; OSError: try again.
    """
    with closing(storage.open_at(url, 0)) as file, _understood(file, url) as told:
        yield told


@contextmanager
def _understood(file: BinaryIO, url: str) -> Iterator[Any]:
    """Raises: as `_opened`."""
    pa, parquet = _pyarrow(), extra("pyarrow.parquet", "Parquet")
    try:
        yield parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
    except (pa.ArrowInvalid, OSError) as error:
        if _is_storage(error, url):
            raise
        detail = f"{storage.shown(url)} is not a whole Parquet file: {error}"
        raise BadInput("input_damaged", detail) from error


def _is_storage(error: Exception, url: str) -> bool:
    # pyarrow has no type of its own for a damaged page; storage says where it failed, or how.
    if not isinstance(error, OSError):
        return False
    return error.errno is not None or storage.shown(url) in str(error)


class _Row(Mapping[str, Any]):
    """What is carried of a row, in Parquet's own types until somebody asks for Python's."""

    __slots__ = ("index", "table")

    def __init__(self, table: Any, index: int) -> None:
        self.table = table
        self.index = index

    def __getitem__(self, name: str) -> Any:
        value = self.table.column(name)[self.index]
        try:
            return value.as_py()
        except ValueError:
            # Times in nanoseconds, which Python has not.
            return value.cast(_pyarrow().string()).as_py()

    def __iter__(self) -> Iterator[str]:
        return iter(self.table.column_names)

    def __len__(self) -> int:
        return int(self.table.num_columns)


class _Reader:
    def chunks(self, spec: BatchSpec, most_bytes: int) -> Iterator[Chunk]:
        present(spec)
        with _opened(spec.input) as file:
            _check_columns(spec, file.schema_arrow)
            groups = _groups(file)
        yield from _cut(groups, most_bytes)

    def read(self, spec: BatchSpec, chunk: Chunk) -> Iterator[Record | Bad]:
        present(spec)
        with _opened(spec.input) as file:
            carried = _carried(file.schema_arrow).names
            for first, batch in _batches(file, chunk.start, chunk.stop):
                table = _pyarrow().Table.from_batches([batch])
                yield from _rows(spec, table, table.select(carried), first - chunk.start)

    def count(self, spec: BatchSpec, chunk: Chunk) -> int:
        return chunk.stop - chunk.start


class _Group(NamedTuple):
    """A row group; its size in bytes, as memory has it."""

    rows: int
    size: int


def _groups(file: Any) -> list[_Group]:
    # What a file says of its size leaves out how often a word of its dictionaries stands there.
    sample = next(file.iter_batches(batch_size=_ROWS), None)
    row = sample.nbytes / max(1, sample.num_rows) if sample is not None else 0
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    return [
        _Group(its.num_rows, max(its.total_byte_size, int(its.num_rows * row))) for its in groups
    ]


def _cut(groups: Sequence[_Group], most_bytes: int) -> Iterator[Chunk]:
    """Rows of several row groups, as many as fit; pieces of one that is too large."""
    start = stop = size = 0
    for rows, its in groups:
        if stop > start and size + its > most_bytes:
            yield Chunk(start, stop, size)
            start, size = stop, 0
        pieces = _pieces(rows, its, most_bytes)
        for number in range(1, pieces):
            end = stop + rows * number // pieces
            yield Chunk(start, end, its // pieces)
            start = end
        stop += rows
        size += its // pieces
    if stop > start:
        yield Chunk(start, stop, size)


def _pieces(rows: int, size: int, most_bytes: int) -> int:
    return max(1, min(rows, _MOST_PIECES, math.ceil(size / most_bytes)))


def _batches(file: Any, start: int, stop: int) -> Iterator[tuple[int, Any]]:
    """Rows [start, stop) of the file, some at a time, and the number of the first of them."""
    groups: list[int] = []
    at = end = 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if end + rows > start and end < stop:
            at = at if groups else end
            groups.append(group)
        end += rows
    for batch in file.iter_batches(batch_size=_ROWS, row_groups=groups):
        first, last = max(at, start), min(at + batch.num_rows, stop)
        if first < last:
            yield first, batch.slice(first - at, last - first)
        at += batch.num_rows
        if at >= stop:
            return


def _check_columns(spec: BatchSpec, schema: Any) -> None:
    """
    Raises: BadInput: a column is missing, or of a type that holds no texts.
    """
    for name in ("query", "documents"):
        if name not in schema.names:
            detail = f"{storage.shown(spec.input)} has no column {name}"
            raise BadInput("missing_column", f"{detail}; it has {', '.join(schema.names)[:200]}")
    types = _pyarrow().types
    documents = schema.field("documents").type
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    if not any(is_list(documents) for is_list in lists):
        detail = f"column documents of {storage.shown(spec.input)} is {documents}, not a list"
        raise BadInput("invalid_column", detail)


def _rows(spec: BatchSpec, table: Any, carried: Any, first: int) -> Iterator[Record | Bad]:
    names = [name for name in _READ if name in table.column_names]
    for index, fields in enumerate(table.select(names).to_pylist()):
        try:
            told = record(spec, first + index, fields, _Row(carried, index))
        except Wrong as error:
            yield error.bad(first + index, name_of(fields))
        else:
            yield fitted(spec, told)


def _carried(schema: Any) -> Any:
    fields = [field for field in schema if field.name not in NOT_CARRIED]
    return _pyarrow().schema(fields)


class _Writer:
    suffix = ".parquet"

    def part(self, spec: BatchSpec, scored: Sequence[Scored]) -> bytes:
        pa, parquet = _pyarrow(), extra("pyarrow.parquet", "Parquet")
        sink = pa.BufferOutputStream()
        parquet.write_table(_table(spec, scored), sink)
        return bytes(sink.getvalue().to_pybytes())

    def merged(self, spec: BatchSpec, parts: Sequence[str]) -> None:
        parquet = extra("pyarrow.parquet", "Parquet")
        with (
            storage.writing(spec.output) as out,
            parquet.ParquetWriter(out, _schema(spec)) as writer,
        ):
            for url, file in zip(parts, storage.open_all(parts), strict=True):
                for table in _row_groups(file, url):
                    writer.write_table(table)


def _row_groups(part: BinaryIO, url: str) -> Iterator[Any]:
    # A generator, so that what fails in writing them is not taken for a damaged file.
    with closing(part), _understood(part, url) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def _schema(spec: BatchSpec) -> Any:
    """The output's columns: the same for each part, whatever its records hold."""
    pa = _pyarrow()
    result = [
        ("index", pa.int32()),
        ("id", pa.string()),
        ("relevance_score", pa.float64()),
        ("truncated", pa.bool_()),
    ]
    if spec.return_documents:
        result.append(("document", pa.struct([("text", pa.string())])))
    column = pa.field("results", pa.list_(pa.struct(result)))
    if spec.input_format == "parquet":
        with _opened(spec.input) as file:
            return _carried(file.schema_arrow).append(column)
    # What lines of JSON carry has no type that is sure to fit all of them.
    return pa.schema([(name, pa.string()) for name in ("id", "query", "fields")]).append(column)


def _table(spec: BatchSpec, scored: Sequence[Scored]) -> Any:
    pa, schema = _pyarrow(), _schema(spec)
    rankings = [[{"truncated": False, **one} for one in results(spec, its)] for its in scored]
    column = pa.array(rankings, schema.field("results").type)
    if spec.input_format == "parquet":
        carried = _rows_of([its.record for its in scored], schema)
    else:
        carried = pa.table(
            {
                "id": pa.array([its.record.query_id for its in scored], pa.string()),
                "query": pa.array([its.record.query for its in scored], pa.string()),
                "fields": pa.array([_other_fields(spec, its) for its in scored], pa.string()),
            }
        )
    return carried.append_column(schema.field("results"), column)


def _rows_of(records: Sequence[Record], schema: Any) -> Any:
    """The carried columns of these rows, one take for all that came of one table."""
    pa = _pyarrow()
    tables: list[tuple[Any, list[int]]] = []
    for one in records:
        row = one.source
        if not isinstance(row, _Row):
            raise TypeError("a record of a Parquet file lost its row")
        if not tables or tables[-1][0] is not row.table:
            tables.append((row.table, []))
        tables[-1][1].append(row.index)
    if not tables:
        return pa.schema([field for field in schema if field.name != "results"]).empty_table()
    return pa.concat_tables([table.take(indices) for table, indices in tables])


def _other_fields(spec: BatchSpec, scored: Scored) -> str | None:
    """As JSON; null: none, or the input is of another form."""
    if spec.input_format != "jsonl":
        return None
    source = scored.record.source
    others = {name: value for name, value in source.items() if name not in ("id", "query")}
    return json_line(others) if others else None


READER = _Reader()
WRITER = _Writer()
