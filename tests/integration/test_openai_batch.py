"""A batch by OpenAI's own client through a real worker: files, URLs, lines good and bad."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import httpx
import pytest
from moto.server import ThreadedMotoServer
from openai import OpenAI
from openai.types import Batch

from rerankq.rerank_form import RerankResponse
from scripts.localsystem import LocalSystem
from tests.conftest import StartSystem, eventually
from tests.integration.openai_callers import openai_at

DOCUMENTS = ["Knead the dough.", "ss -ltnp lists listening network ports.", "sed edits streams."]
BODY = {"query": "which process uses a port?", "documents": DOCUMENTS}


def line(custom_id: str, **body: Any) -> str:
    request = {"custom_id": custom_id, "method": "POST", "url": "/v1/rerank", "body": BODY | body}
    return json.dumps(request)


@pytest.fixture
def caller(demo_system: LocalSystem) -> Iterator[OpenAI]:
    with openai_at(demo_system, "none") as client:
        yield client


def finished(caller: OpenAI, **fields: Any) -> Batch:
    # The client's types know OpenAI's own endpoints alone.
    make: Callable[..., Batch] = caller.batches.create
    made = make(endpoint="/v1/rerank", completion_window="24h", **fields)
    final = ("completed", "failed", "expired", "cancelled")
    eventually(lambda: caller.batches.retrieve(made.id).status in final, 60)
    return caller.batches.retrieve(made.id)


def json_lines(caller: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(text) for text in caller.files.content(file_id).text.splitlines()]


def test_each_line_is_answered_as_a_request_of_its_own(
    caller: OpenAI, demo_system: LocalSystem
) -> None:
    lines = [
        line("a"),
        "{no JSON",
        line("b", top_n=1, return_documents=True, model="models/demo"),
        line("c", model="gpt-6"),
        line("a", query=" "),
        line("a", documents=DOCUMENTS[:2]),
    ]
    file = caller.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose="batch")
    batch = finished(caller, input_file_id=file.id)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 6, "completed": 3, "failed": 3}

    output = json_lines(caller, batch.output_file_id)
    assert [told["custom_id"] for told in output] == ["a", "b", "a"]
    bodies = [told["response"]["body"] for told in output]
    alone = httpx.post(f"{demo_system.url}/v1/rerank", json=BODY, timeout=60).json()
    scores = {one["index"]: one["relevance_score"] for one in alone["results"]}
    for body in bodies:
        answer = RerankResponse.model_validate(body)
        assert answer.model == alone["model"]
        for result in answer.results:
            assert result.relevance_score == pytest.approx(scores[result.index], abs=1e-5)
    assert [result["index"] for result in bodies[0]["results"]] == [
        result["index"] for result in alone["results"]
    ]
    assert [result["document"] for result in bodies[1]["results"]] == [{"text": DOCUMENTS[1]}]

    errors = json_lines(caller, batch.error_file_id)
    told = [(error["custom_id"], error["error"]["code"]) for error in errors]
    assert told == [(None, "invalid_json"), ("c", "model_mismatch"), ("a", "invalid_record")]
    assert errors[1]["error"]["message"].startswith("line 4: ")


def test_a_file_without_a_line_has_an_output_without_one(caller: OpenAI) -> None:
    file = caller.files.create(file=("in.jsonl", b"\n"), purpose="batch")
    batch = finished(caller, input_file_id=file.id)
    assert batch.status == "completed"
    assert json_lines(caller, batch.output_file_id) == []
    assert batch.error_file_id is None


@pytest.fixture(scope="module")
def s3(monkeypatch_module: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a server with one bucket, which processes started from now on find, too."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch_module.setenv(name, value)
    client = botocore.session.get_session().create_client("s3")
    client.create_bucket(Bucket="bucket")
    yield client
    client.close()
    server.stop()


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def remote(start_system: StartSystem, s3: Any) -> LocalSystem:
    return start_system(storage_url="s3://bucket/service", storage_allow="s3://bucket/ours")


def test_urls_take_the_place_of_files(remote: LocalSystem, s3: Any) -> None:
    s3.put_object(Bucket="bucket", Key="ours/in.jsonl", Body=f"{line('a')}\n[]\n".encode())
    given = {"input_uri": "s3://bucket/ours/in.jsonl", "output_uri": "s3://bucket/ours/out"}
    with openai_at(remote, "none") as caller:
        batch = finished(caller, input_file_id=None, extra_body=given)
    assert batch.status == "completed"
    assert (batch.output_file_id, batch.error_file_id) == (None, None)
    ours: dict[str, Any] = batch.model_dump()
    assert ours["input_uri"] == given["input_uri"]
    assert ours["output_uri"] == given["output_uri"]
    assert ours["error_uri"] == "s3://bucket/ours/out.errors.jsonl"
    told = [
        json.loads(s3.get_object(Bucket="bucket", Key=key)["Body"].read())
        for key in ("ours/out", "ours/out.errors.jsonl")
    ]
    assert told[0]["custom_id"] == "a"
    assert told[1]["error"]["code"] == "invalid_record"
    gone = given | {"input_uri": "s3://bucket/ours/nothing"}
    missing = httpx.post(f"{remote.url}/v1/batches", json=gone)
    assert (missing.status_code, missing.json()["code"]) == (422, "input_missing")


def test_files_lie_in_a_bucket_as_they_do_in_a_folder(remote: LocalSystem) -> None:
    with openai_at(remote, "none") as caller:
        file = caller.files.create(file=("in.jsonl", f"{line('a')}\n".encode()), purpose="batch")
        batch = finished(caller, input_file_id=file.id)
        assert [told["custom_id"] for told in json_lines(caller, batch.output_file_id)] == ["a"]
        caller.files.delete(file.id)
        empty = caller.files.create(file=("empty.jsonl", b""), purpose="batch")
        assert caller.files.content(empty.id).read() == b""
