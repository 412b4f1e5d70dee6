"""What is large: read in bounded memory, or refused with its name and the limit."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rerankq.bulk import index as index_module
from rerankq.bulk import lines as lines_module
from rerankq.bulk import storage
from rerankq.bulk.formats import parquet, reader, trec
from rerankq.bulk.records import Bad, Record
from rerankq.bulk.spec import BatchSpec, InputFormat

TEXTS = {"d1": "a line", "d2": "größer", "d3": "a lake"}
RUN = [("q1", "d1"), ("q1", "d2"), ("q1", "d3"), ("q2", "d2"), ("q2", "d1")]


def written(folder: Path, name: str, lines: Sequence[str]) -> str:
    (folder / name).write_text("".join(line + "\n" for line in lines))
    return str(folder / name)


def spec(folder: Path, given: InputFormat, source: str, **options: Any) -> BatchSpec:
    return BatchSpec(
        input=source,
        input_format=given,
        version=storage.stat(source).version,
        output=str(folder / "out"),
        output_format="jsonl",
        errors=str(folder / "errors"),
        work=str(folder / "work"),
        **options,
    )


def as_trec(folder: Path) -> BatchSpec:
    corpus = [json.dumps({"_id": name, "text": text}) for name, text in TEXTS.items()]
    queries = [json.dumps({"_id": name, "text": "a query"}) for name in ("q1", "q2")]
    run = [f"{query} {document} {9 - place}" for place, (query, document) in enumerate(RUN)]
    beside = {
        "corpus": written(folder, "corpus.jsonl", corpus),
        "queries": written(folder, "queries.jsonl", queries),
    }
    return spec(folder, "trec", written(folder, "in.run", run), **beside)


def as_msmarco(folder: Path) -> BatchSpec:
    rows = [f"{query}\t{document}\ta query\t{TEXTS[document]}" for query, document in RUN]
    return spec(folder, "msmarco", written(folder, "in.tsv", rows))


def read(what: BatchSpec, most_bytes: int = 1 << 20) -> list[Record | Bad]:
    its = reader(what.input_format)
    return [one for chunk in its.chunks(what, most_bytes) for one in its.read(what, chunk)]


def told(what: BatchSpec) -> list[tuple[str | None, str | int]]:
    """Each record's id, and its candidates' count or what was wrong."""
    return [
        (one.query_id, one.code if isinstance(one, Bad) else len(one.documents))
        for one in read(what)
    ]


@pytest.mark.parametrize("made", [as_trec, as_msmarco])
def test_a_query_with_too_many_candidates_is_a_bad_line(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = made(tmp_path)
    monkeypatch.setattr(lines_module, "MOST_LINES", 2)
    assert told(what) == [("q1", "record_too_large"), ("q2", 2)]
    monkeypatch.undo()
    monkeypatch.setattr(lines_module, "MOST_BYTES", 23)
    assert ("q1", "record_too_large") in told(what)
    monkeypatch.undo()
    assert told(what) == [("q1", 3), ("q2", 2)]


def test_a_query_whose_texts_are_too_large_is_a_bad_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trec, "MOST_BYTES", 19)
    assert told(as_trec(tmp_path)) == [("q1", "record_too_large"), ("q2", 2)]


def test_candidates_below_the_depth_are_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "MOST_LINES", 1)
    what = as_msmarco(tmp_path).model_copy(update={"depth": 1})
    assert told(what) == [("q1", 1), ("q2", 1)]


def test_records_are_read_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "_AT_ONCE", 2)
    asked: list[int] = []
    read_many = storage.read_many

    def counted(url: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        asked.append(len(ranges))
        return read_many(url, ranges)

    what = as_trec(tmp_path)
    index = index_module.index(str(what.corpus), str(tmp_path / "index"))
    monkeypatch.setattr(storage, "read_many", counted)
    names = ["d3", "gone", "d1", "d2", "d1"]
    found = list(index.records(names))
    assert [one and one["_id"] for one in found] == ["d3", None, "d1", "d2", "d1"]
    assert asked == [1, 2, 1]
    monkeypatch.setattr(index_module, "_BYTES_AT_ONCE", 0)
    assert len(list(index.records(names))) == 5
    assert max(asked[3:]) == 1


def test_an_index_that_is_built_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpora = [
        written(tmp_path, f"{name}.jsonl", [json.dumps({"_id": name, "text": ""})])
        for name in ("a", "b")
    ]
    index_module.index(corpora[0], f"{corpora[0]}.index")
    index_module._opened.clear()
    building, go_on = threading.Event(), threading.Event()
    build = index_module.build

    def slow(*args: str) -> None:
        building.set()
        assert go_on.wait(30)
        build(*args)

    monkeypatch.setattr(index_module, "build", slow)
    other = threading.Thread(target=index_module.index, args=(corpora[1], f"{corpora[1]}.index"))
    other.start()
    try:
        assert building.wait(30)
        assert index_module.index(corpora[0], f"{corpora[0]}.index").count == 1
    finally:
        go_on.set()
        other.join()
    assert index_module.index(corpora[1], f"{corpora[1]}.index").count == 1


@pytest.mark.parametrize("most", [1, 700, 5_000, 1 << 20])
def test_large_row_groups_are_cut_and_each_row_is_read_once(most: int, tmp_path: Path) -> None:
    rows = [{"id": n, "query": f"q{n}", "documents": [f"text {n}"]} for n in range(1_000)]
    file = tmp_path / "in.parquet"
    with pq.ParquetWriter(file, pa.Table.from_pylist(rows).schema) as writer:
        for start, stop in ((0, 3), (3, 3), (3, 5), (5, 900), (900, 1000)):
            table = pa.Table.from_pylist(rows[start:stop], writer.schema)
            writer.write_table(table, row_group_size=max(1, len(table)))
    what = spec(tmp_path, "parquet", str(file))
    chunks = list(reader("parquet").chunks(what, most))
    assert [chunk.start for chunk in chunks[1:]] == [chunk.stop for chunk in chunks[:-1]]
    counts = [reader("parquet").count(what, chunk) for chunk in chunks]
    assert sum(counts) == 1_000
    read = [list(reader("parquet").read(what, chunk)) for chunk in chunks]
    assert [[one.line for one in its] for its in read] == [list(range(n)) for n in counts]
    assert [one.query_id for its in read for one in its] == [str(n) for n in range(1_000)]
    if most == 700:
        assert max(counts) < 100


def test_a_row_group_is_read_from_its_beginning_a_bounded_number_of_times() -> None:
    groups = [parquet._Group(1_000_000, 1 << 30)]
    chunks = list(parquet._cut(groups, 1 << 16))
    assert len(chunks) == 256
    assert sum(chunk.size for chunk in chunks) == 1 << 30


def test_texts_that_a_dictionary_holds_once_count_each_time(tmp_path: Path) -> None:
    documents = ["x" * 10_000] * 10
    table = pa.table({"query": ["q"] * 100, "documents": [documents] * 100})
    pq.write_table(table, tmp_path / "in.parquet")
    what = spec(tmp_path, "parquet", str(tmp_path / "in.parquet"))
    metadata = pq.ParquetFile(what.input).metadata
    assert metadata.row_group(0).total_byte_size < 50_000
    chunks = list(reader("parquet").chunks(what, 1 << 20))
    assert len(chunks) == 10
