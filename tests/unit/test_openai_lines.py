"""OpenAI's batch lines: what is read, what is refused, what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rerankq.bulk import storage
from rerankq.bulk.formats import results
from rerankq.bulk.formats.openai import READER, WRITER, error_line
from rerankq.bulk.records import Bad, Record, Scored
from rerankq.bulk.spec import BatchSpec
from rerankq.rerank_form import RerankResponse

BODY = {"query": "q", "documents": ["a", {"text": "b"}, "c"]}
LINE = {"custom_id": "one", "method": "POST", "url": "/v1/rerank", "body": BODY}


def batch(folder: Path, *lines: object, **options: Any) -> BatchSpec:
    path = folder / "in.jsonl"
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(text + "\n" for text in texts))
    return BatchSpec(
        input=str(path),
        input_format="openai",
        version=storage.stat(str(path)).version,
        output=str(folder / "out.jsonl"),
        output_format="openai",
        errors=str(folder / "errors.jsonl"),
        work=str(folder / "work"),
        **options,
    )


def read(spec: BatchSpec) -> list[Record | Bad]:
    return [told for chunk in READER.chunks(spec, 1 << 20) for told in READER.read(spec, chunk)]


def only_record(spec: BatchSpec) -> Record:
    (told,) = read(spec)
    assert isinstance(told, Record), told
    return told


def scored(record: Record) -> Scored:
    return Scored(record, [0.0, 2.0, 2.0][: len(record.documents)], [1], 30, "m", "r")


def written(spec: BatchSpec, record: Record) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(WRITER.part(spec, [scored(record)]))
    return told


def test_a_request_becomes_a_record_and_its_answer_a_line(tmp_path: Path) -> None:
    spec = batch(tmp_path, LINE)
    record = only_record(spec)
    assert (record.query_id, record.query, record.line) == ("one", "q", 0)
    assert list(record.documents) == ["a", "b", "c"]
    line = written(spec, record)
    assert set(line) == {"id", "custom_id", "response", "error"}
    assert line["id"].startswith("batch_req_")
    assert (line["custom_id"], line["error"]) == ("one", None)
    assert line["response"]["status_code"] == 200
    answer = RerankResponse.model_validate(line["response"]["body"])
    assert [result.index for result in answer.results] == [1, 2, 0]
    assert answer.results[2].relevance_score == 0.5
    assert answer.results[0].truncated
    assert answer.data == answer.results
    assert (answer.model, answer.usage.total_tokens, answer.meta["truncated"]) == ("m", 30, 1)
    assert answer.model_dump() == json.loads(answer.model_dump_json())
    assert json.loads(answer.model_dump_json()) == line["response"]["body"]


def test_a_line_has_options_of_its_own(tmp_path: Path) -> None:
    own = {"top_n": 1, "return_documents": True, "instruct": "find it", "model": "m"}
    spec = batch(tmp_path, LINE | {"body": BODY | own}, top_k=2, models=("m", "alias"))
    record = only_record(spec)
    assert record.instruction == "find it"
    told = written(spec, record)["response"]["body"]["results"]
    assert [result["document"] for result in told] == [{"text": "b"}]
    of_batch = batch(tmp_path, LINE, top_k=2)
    assert len(written(of_batch, only_record(of_batch))["response"]["body"]["results"]) == 2


@pytest.mark.parametrize("of_batch", [False, True])
@pytest.mark.parametrize(
    ("own", "raw"),
    [
        ({"raw_scores": True}, True),
        ({"raw_scores": False}, False),
        ({"use_activation": False}, True),
        ({"softmax": True}, False),
        ({"raw_scores": None}, None),
    ],
)
def test_a_line_s_own_value_goes_before_the_batch_s(
    tmp_path: Path, own: dict[str, Any], raw: bool | None, of_batch: bool
) -> None:
    spec = batch(tmp_path, LINE | {"body": BODY | own}, raw_scores=of_batch)
    told = written(spec, only_record(spec))["response"]["body"]["results"]
    expected = of_batch if raw is None else raw
    assert told[2]["relevance_score"] == (0.0 if expected else 0.5)


def test_a_line_that_asks_for_all_gets_all(tmp_path: Path) -> None:
    for fields, count in (({"top_n": 0}, 3), ({"top_n": None}, 2), ({"top_k": 1}, 1)):
        spec = batch(tmp_path, LINE | {"body": BODY | fields}, top_k=2)
        record = only_record(spec)
        assert len(written(spec, record)["response"]["body"]["results"]) == count
        assert len(results.results(spec, scored(record))) == count, "whatever the output's form"


def test_the_same_line_has_the_same_id_in_every_batch(tmp_path: Path) -> None:
    ids = []
    for line, options in ((LINE, {}), (LINE, {"top_k": 1}), (LINE | {"custom_id": "two"}, {})):
        spec = batch(tmp_path, line, **options)
        ids.append(written(spec, only_record(spec))["id"])
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("{", "invalid_json", "character"),
        ("[]", "invalid_record", "not a JSON object"),
        ({**LINE, "custom_id": None}, "invalid_record", "custom_id"),
        ({**LINE, "custom_id": ""}, "invalid_record", "custom_id"),
        ({**LINE, "method": "GET"}, "invalid_record", "method"),
        ({**LINE, "url": "/v1/embeddings"}, "invalid_record", "/v1/rerank"),
        ({**LINE, "body": []}, "invalid_record", "body must be an object"),
        ({**LINE, "body": {"documents": ["d"]}}, "invalid_record", "body.query"),
        ({**LINE, "body": BODY | {"query": " "}}, "invalid_record", "body.query: must not be"),
        ({**LINE, "body": BODY | {"documents": []}}, "invalid_record", "body.documents"),
        ({**LINE, "body": BODY | {"documents": ["a", 1]}}, "invalid_record", "documents.1"),
        ({**LINE, "body": BODY | {"top_n": -1}}, "invalid_record", "body.top_n"),
        ({**LINE, "body": BODY | {"model": "other"}}, "model_mismatch", "body.model"),
        ({**LINE, "body": BODY | {"documents": [{}]}}, "invalid_record", "body.documents.0.text"),
        ({**LINE, "body": BODY | {"max_tokens_per_doc": 9}}, "invalid_record", "body.max_tokens"),
        ({**LINE, "body": BODY | {"truncation": False}}, "invalid_record", "body.truncation"),
    ],
)
def test_a_wrong_line_is_bad_and_the_next_is_read(
    tmp_path: Path, line: object, code: str, words: str
) -> None:
    bad, good = read(batch(tmp_path, line, LINE, models=("m",)))
    assert isinstance(bad, Bad)
    assert (bad.line, bad.code) == (0, code)
    assert words in bad.detail
    assert isinstance(good, Record)
    assert good.line == 1


def test_unknown_fields_and_a_repeated_custom_id_are_fine(tmp_path: Path) -> None:
    told = read(batch(tmp_path, LINE | {"more": 1}, LINE | {"body": BODY | {"more": 1}}))
    assert [one.query_id for one in told] == ["one", "one"]


def test_a_bad_line_is_told_in_the_form_of_a_failed_request() -> None:
    line = error_line(Bad(3, "invalid_record", "body.query: must not be blank", "one"), 41)
    assert line == error_line(Bad(0, "invalid_record", "body.query: must not be blank", "one"), 41)
    assert line["custom_id"] == "one"
    assert line["error"] == {
        "code": "invalid_record",
        "message": "line 41: body.query: must not be blank",
    }
    assert line["response"]["status_code"] == 422
    assert line["response"]["body"]["code"] == "invalid_record"
    assert error_line(Bad(0, "invalid_json", "x"), 1)["response"]["status_code"] == 400
