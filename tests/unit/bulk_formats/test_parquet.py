"""Parquet: cut by row groups, columns in their types."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rerankq.bulk.formats import reader
from rerankq.bulk.records import BadInput
from tests.unit.bulk_formats.files import batch, read, run, write_parquet


def test_parquet_is_cut_by_row_groups(tmp_path: Path) -> None:
    table = pa.table({"query": ["q"] * 6, "documents": [["a"]] * 6})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=1)
    spec = batch(tmp_path, "in.parquet", "parquet")
    size = pq.ParquetFile(tmp_path / "in.parquet").metadata.row_group(0).total_byte_size
    ends = [(one.start, one.stop) for one in reader("parquet").chunks(spec, 2 * size)]
    assert ends == [(0, 2), (2, 4), (4, 6)]
    assert len(list(reader("parquet").chunks(spec, 1))) == 6
    (whole,) = reader("parquet").chunks(spec, 1 << 30)
    assert [one.line for one in reader("parquet").read(spec, whole)] == list(range(6))


def test_parquet_carries_its_columns_in_their_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "when": pa.array([1, 2, None], pa.timestamp("ns")),
            "query": pa.array(["q", None, "r"], pa.large_string()),
            "documents": pa.array([["a", "b!"], ["c"], ["d", None]]),
            "weight": pa.array([float("nan"), 1.0, 2.0], pa.float32()),
            "raw": pa.array([b"\xff", b"", b""]),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    spec = batch(tmp_path, "in.parquet", "parquet", "parquet", return_documents=True)
    bad = run(spec, 1 << 20)
    assert [(one.line, one.detail[:12]) for one in bad] == [
        (1, "query must b"),
        (2, "documents[1]"),
    ]
    told = pq.read_table(spec.output)
    assert told.schema.names == ["when", "query", "weight", "raw", "results"]
    assert told.schema.field("when").type == pa.timestamp("ns")
    assert told.column("results").to_pylist() == [
        [
            {
                "index": index,
                "id": None,
                "relevance_score": pytest.approx(score),
                "truncated": False,
                "document": {"text": text},
            }
            for index, score, text in ((1, 0.7310585786300049, "b!"), (0, 0.5, "a"))
        ]
    ]
    run(batch(tmp_path, "in.parquet", "parquet", "jsonl"))
    line = json.loads((tmp_path / "out").read_text())
    assert (line["weight"], line["raw"], line["query"]) == (None, "/w==", "q")
    assert line["when"].startswith("1970-01-01")


def test_parquet_that_cannot_be_used_fails_when_it_is_cut(tmp_path: Path) -> None:
    file = tmp_path / "in.parquet"
    pq.write_table(pa.table({"query": ["q"], "docs": [["a"]]}), file)
    with pytest.raises(BadInput, match="no column documents; it has query, docs") as failure:
        read(batch(tmp_path, file.name, "parquet"))
    assert failure.value.code == "missing_column"
    pq.write_table(pa.table({"query": ["q"], "documents": ["a"]}), file)
    with pytest.raises(BadInput, match="not a list"):
        read(batch(tmp_path, file.name, "parquet"))
    write_parquet(tmp_path)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(BadInput, match=r"in\.parquet") as failure:
        read(batch(tmp_path, file.name, "parquet"))
    assert failure.value.code == "input_damaged"


def test_a_damaged_page_is_the_input_s_fault(tmp_path: Path) -> None:
    file = tmp_path / "in.parquet"
    texts = [f"text {number}" for number in range(1000)]
    pq.write_table(pa.table({"query": texts, "documents": [[text] for text in texts]}), file)
    data = bytearray(file.read_bytes())
    data[4:2000] = bytes(1996)
    file.write_bytes(data)
    with pytest.raises(BadInput, match=r"in\.parquet") as failure:
        read(batch(tmp_path, file.name, "parquet"))
    assert failure.value.code == "input_damaged"
