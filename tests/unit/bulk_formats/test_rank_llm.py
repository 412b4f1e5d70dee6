"""rank_llm's lines."""

import json
from pathlib import Path

from rerankq.bulk.records import Bad, Record
from tests.unit.bulk_formats.files import batch, read, run


def test_rank_llm_keeps_all_that_it_had(tmp_path: Path) -> None:
    line = {
        "query": {"text": "q", "qid": 7, "lang": "en"},
        "candidates": [
            {"docid": 1, "score": 3.0, "doc": {"title": "T", "segment": "s", "url": "u"}},
            {"docid": 2, "score": 2.0, "doc": {"text": "t!", "x": [1]}, "extra": True},
        ],
        "more": None,
    }
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    spec = batch(tmp_path, "in.jsonl", "rank_llm", "rank_llm")
    (record,) = read(spec)
    assert isinstance(record, Record)
    assert record.documents == ["Title: T Content: s", "t!"]
    run(spec)
    told = json.loads(Path(spec.output).read_text())
    first, second = line["candidates"]
    ours = [{**second, "score": 1.0}, {**first, "score": 0.0}]
    assert told == {**line, "candidates": ours}
    line["candidates"][0]["doc"] = {"title": "T"}
    (tmp_path / "in.jsonl").write_text(json.dumps(line))
    (bad,) = read(batch(tmp_path, "in.jsonl", "rank_llm"))
    assert isinstance(bad, Bad)
    assert (bad.query_id, bad.detail[:21]) == ("7", "candidates[0].doc has")
