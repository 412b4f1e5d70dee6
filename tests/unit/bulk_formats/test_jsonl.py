"""Lines of JSON: what they carry, what is wrong with one."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rerankq.bulk.formats import writer
from rerankq.bulk.records import Bad, Record, Scored
from tests.unit.bulk_formats.files import GOOD, batch, read, run, write_jsonl


def test_what_a_json_line_says_else_is_carried_in_its_order(tmp_path: Path) -> None:
    line = {"z": [1, {"ü": None}], "query": "q", "id": 7, "documents": ["a", "b!"], "a": 0.1}
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    spec = batch(tmp_path, "in.jsonl", "jsonl", return_documents=True, raw_scores=True)
    assert run(spec) == []
    told = json.loads(Path(spec.output).read_text())
    assert list(told) == ["z", "query", "id", "a", "results"]
    assert {name: told[name] for name in ("z", "query", "id", "a")} == {
        name: line[name] for name in ("z", "query", "id", "a")
    }
    assert told["results"] == [
        {"index": 1, "relevance_score": 1.0, "document": {"text": "b!"}},
        {"index": 0, "relevance_score": 0.0, "document": {"text": "a"}},
    ]


def test_results_are_probabilities_and_say_what_was_cut(tmp_path: Path) -> None:
    name = write_jsonl(tmp_path)
    spec = batch(tmp_path, name, "jsonl")
    record = read(spec)[0]
    assert isinstance(record, Record)
    scored = Scored(record, [0.0, 2.0, -800.0], [2], 7, "model", "revision")
    told = json.loads(writer("jsonl").part(spec, [scored]))
    assert told["results"] == [
        {"index": 1, "id": "d2", "relevance_score": pytest.approx(0.8807970779778823)},
        {"index": 0, "id": "d1", "relevance_score": 0.5},
        {"index": 2, "id": "d5", "relevance_score": 0.0, "truncated": True},
    ]


WRONG: list[tuple[bytes, str, str]] = [
    (b'{"query": "q", ', "invalid_json", "character"),
    (b"[1]", "invalid_record", "object"),
    (b'{"documents": ["a"]}', "invalid_record", "query"),
    (b'{"query": "  ", "documents": ["a"]}', "invalid_record", "query must not be blank"),
    (b'{"query": 3, "documents": ["a"]}', "invalid_record", "query must be a string"),
    (b'{"query": "q"}', "invalid_record", "documents"),
    (b'{"query": "q", "documents": "a"}', "invalid_record", "documents"),
    (b'{"query": "q", "documents": []}', "invalid_record", "documents must not be empty"),
    (b'{"query": "q", "documents": ["a", "b", "c", 4]}', "invalid_record", r"documents\[3\]"),
    (b'{"query": "q", "documents": ["a", null]}', "invalid_record", r"documents\[1\]"),
    (b'{"query": "q", "documents": [{"id": "a"}]}', "invalid_record", r"documents\[0\]\.text"),
    (b'{"query": "q", "documents": ["a"], "id": []}', "invalid_record", "id must be"),
    (b'{"query": "q", "documents": ["a"], "instruction": 1}', "invalid_record", "instruction"),
    (b'{"query": "q", "documents": ["\\ud800"]}', "invalid_record", "surrogate"),
    (b'{"query": "q", "documents": ["a"], "x": NaN}', "invalid_json", "NaN"),
    (b'{"query": "q", "documents": ["a"], "x": 1e999}', "invalid_json", "1e999"),
    (b'{"query": "\xff", "documents": ["a"]}', "invalid_utf8", "byte 11"),
    (b"[" * 100_000, "invalid_json", ""),
    (b'{"query": "q", "x": ' + b"[" * 100 + b"]" * 100 + b"}", "invalid_record", "deeper"),
]


@pytest.mark.parametrize(("line", "code", "detail"), WRONG)
def test_a_wrong_line_is_named_and_the_others_are_scored(
    line: bytes, code: str, detail: str, tmp_path: Path
) -> None:
    good = json.dumps(GOOD).encode() + b"\n"
    (tmp_path / "in.jsonl").write_bytes(good * 16 + line + b"\n" + good)
    told = read(batch(tmp_path, "in.jsonl", "jsonl"))
    assert [type(one) for one in told] == [Record] * 16 + [Bad, Record]
    bad = told[16]
    assert isinstance(bad, Bad)
    assert (bad.line, bad.code) == (16, code)
    assert re.search(detail, bad.detail)


def test_equal_ids_and_keys_given_twice_are_legal(tmp_path: Path) -> None:
    line = '{"id": "a", "id": "x", "query": "q", "documents": ["", ""]}\n'
    (tmp_path / "in.jsonl").write_text(line * 2)
    told = read(batch(tmp_path, "in.jsonl", "jsonl"))
    assert [one.query_id for one in told] == ["x", "x"]


def test_other_fields_of_json_lines_are_one_parquet_column(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(json.dumps({**GOOD, "a": [1], "b": "x"}))
    spec = batch(tmp_path, "in.jsonl", "jsonl", "parquet")
    run(spec)
    (row,) = pq.read_table(spec.output).to_pylist()
    assert json.loads(row["fields"]) == {"a": [1], "b": "x"}
