"""Parquet: the columns of JSON lines. A chunk is a run of row groups, a part a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

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


def _pyarrow() -> Any:
    return extra("pyarrow", "Parquet")


@contextmanager
def _opened(url: str) -> Iterator[Any]:
    """
    Raises: BadInput: it is not a whole Parquet file; OSError: try again.
    """
    pa, parquet = _pyarrow(), extra("pyarrow.parquet", "Parquet")
    with closing(storage.open_at(url, 0)) as file:
        try:
            yield parquet.ParquetFile(file)
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
            metadata = file.metadata
            sizes = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
        yield from _joined(sizes, most_bytes)

    def read(self, spec: BatchSpec, chunk: Chunk) -> Iterator[Record | Bad]:
        present(spec)
        with _opened(spec.input) as file:
            carried = _carried(file.schema_arrow).names
            groups = range(chunk.start, chunk.stop)
            first = 0
            for batch in file.iter_batches(batch_size=_ROWS, row_groups=groups):
                table = _pyarrow().Table.from_batches([batch])
                yield from _rows(spec, table, table.select(carried), first)
                first += table.num_rows

    def count(self, spec: BatchSpec, chunk: Chunk) -> int:
        with _opened(spec.input) as file:
            groups = range(chunk.start, chunk.stop)
            return sum(file.metadata.row_group(group).num_rows for group in groups)


def _joined(sizes: Sequence[int], most_bytes: int) -> Iterator[Chunk]:
    """Row groups side by side, as many as fit; one that is too large is a chunk all the same."""
    start = size = 0
    for group, its in enumerate(sizes):
        if group > start and size + its > most_bytes:
            yield Chunk(start, group, size)
            start, size = group, 0
        size += its
    if len(sizes) > start:
        yield Chunk(start, len(sizes), size)


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
            for url in parts:
                for table in _row_groups(url):
                    writer.write_table(table)


def _row_groups(url: str) -> Iterator[Any]:
    # A generator, so that what fails in writing them is not taken for a damaged file.
    with _opened(url) as file:
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
