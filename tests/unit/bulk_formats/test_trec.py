"""Runs over the files of BEIR, in and out."""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from rerankq.bulk.formats import writer
from rerankq.bulk.records import Bad, BadInput, Record, Scored
from tests.unit.bulk_formats.files import (
    GOOD,
    batch,
    ranked,
    read,
    run,
    write_beir,
    write_jsonl,
    write_trec,
)


def trec_scores(log_odds: Sequence[float], tmp_path: Path) -> list[float]:
    spec = batch(tmp_path, write_jsonl(tmp_path), "jsonl", "trec")
    record = Record(0, "q", [""] * len(log_odds), "q1")
    data = writer("trec").part(spec, [Scored(record, log_odds, [], 0, "m", "r")])
    lines = [line.split() for line in data.decode().splitlines()]
    assert [int(columns[3]) for columns in lines] == list(range(1, len(lines) + 1))
    return [float(columns[4]) for columns in lines]


def test_scores_of_a_run_fall_strictly_in_32_bits_too(tmp_path: Path) -> None:
    single = pa.array(trec_scores([1.0, 3.5, 1.0, 0.0, 0.0, -2.0, -2.0, -2.0], tmp_path))
    told = single.cast(pa.float32(), safe=False).to_pylist()
    assert all(above > below for above, below in pairwise(told))
    assert trec_scores([0.1, 0.30000000000000004], tmp_path) == [0.30000000000000004, 0.1]


def test_a_run_is_read_by_evaluators_as_it_is_ranked(tmp_path: Path) -> None:
    import ir_measures
    from ir_measures import RR

    # All tied: evaluators would go by name, and find d1 first.
    (tmp_path / "in.jsonl").write_text(
        json.dumps(
            {
                "id": "q",
                "query": "q",
                "documents": [{"id": name, "text": "!"} for name in ("d9", "d1", "d5")],
            }
        )
    )
    spec = batch(tmp_path, "in.jsonl", "jsonl", "trec", tag="ours")
    run(spec)
    assert Path(spec.output).read_text().splitlines()[0] == "q Q0 d9 1 1.0 ours"
    told = list(ir_measures.read_trec_run(spec.output))
    for best, rank in (("d9", 1), ("d1", 2), ("d5", 3)):
        qrels = [ir_measures.Qrel("q", best, 1)]
        assert ir_measures.calc_aggregate([RR], qrels, told)[RR] == pytest.approx(1 / rank)


def test_a_run_names_a_document_once(tmp_path: Path) -> None:
    documents = [{"id": name, "text": text} for name, text in (("a", ""), ("b", "!"), ("a", "!!"))]
    (tmp_path / "in.jsonl").write_text(json.dumps({**GOOD, "documents": documents}))
    spec = batch(tmp_path, "in.jsonl", "jsonl", "trec")
    run(spec)
    assert ranked(spec) == {"x": ["a", "b"]}


def test_an_id_that_would_break_a_run_is_refused(tmp_path: Path) -> None:
    documents = [{"id": "two words", "text": ""}]
    (tmp_path / "in.jsonl").write_text(json.dumps({**GOOD, "documents": documents}))
    assert isinstance(read(batch(tmp_path, "in.jsonl", "jsonl", "jsonl"))[0], Record)
    (bad,) = read(batch(tmp_path, "in.jsonl", "jsonl", "trec"))
    assert isinstance(bad, Bad)
    assert (bad.code, bad.query_id) == ("invalid_id", "x")


def test_a_trec_run_is_ordered_before_it_is_cut(tmp_path: Path) -> None:
    write_beir(tmp_path)
    (tmp_path / "in.run").write_text(
        "q1 Q0 d1 3 1 t\nq1 Q0 d2 1 0 t\nq1\tQ0\td3  2 9 t\nq2 d1 0.5\nq2 d2 7\nq2 d3 1e1\n"
    )
    told = read(batch(tmp_path, "in.run", "trec", depth=2))
    assert [one.ids for one in told if isinstance(one, Record)] == [["d2", "d3"], ["d3", "d2"]]


def test_what_a_trec_run_names_and_is_not_there(tmp_path: Path) -> None:
    write_beir(tmp_path)
    (tmp_path / "in.run").write_text(
        "q1 Q0 d1 1 9 t\nq1 Q0 gone 2 8 t\nq1 Q0 d2 x 7 t\nq1 Q0 d3 3 7 t\n"
        "q9 Q0 d1 1 9 t\nq2 Q0 gone 1 9 t\nnot of a run\n"
    )
    spec = batch(tmp_path, "in.run", "trec")
    told = read(spec)
    bad = {(one.line, one.code, one.query_id) for one in told if isinstance(one, Bad)}
    assert bad == {
        (1, "missing_document", "q1"),
        (2, "invalid_record", "q1"),
        (4, "missing_query", "q9"),
        (5, "missing_document", "q2"),
        (6, "invalid_record", None),
    }
    (record,) = [one for one in told if isinstance(one, Record)]
    assert (record.query_id, record.ids) == ("q1", ["d1", "d3"])


def test_titles_stand_above_texts(tmp_path: Path) -> None:
    name = write_trec(tmp_path)
    (tmp_path / "corpus.jsonl").write_text(
        '{"title": "T", "_id": "d1", "text": "t"}\n{"_id": "d2", "title": null, "text": "u"}\n'
        '{"_id": "d\\u0035", "text": "v"}\n'
    )
    record = next(one for one in read(batch(tmp_path, name, "trec")) if isinstance(one, Record))
    assert record.documents == ["T\nt", "u", "v"]


def test_a_changed_corpus_fails_the_batch(tmp_path: Path) -> None:
    spec = batch(tmp_path, write_trec(tmp_path), "trec")
    assert all(isinstance(one, Record) for one in read(spec))
    with open(tmp_path / "corpus.jsonl", "a") as file:
        file.write('{"_id": "d6", "text": "new"}\n')
    with pytest.raises(BadInput) as failure:
        read(spec)
    assert failure.value.code == "input_changed"
