"""/v1/batches by OpenAI's own client, with this test in the worker's place."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types import Batch

from rerankq.bulk.chunks import Chunk
from rerankq.ledger import batches
from rerankq.ledger.batch_record import BatchRecord
from rerankq.ledger.batches import ScoredPart
from rerankq.ledger.files import file_id_of
from rerankq.ledger.keys import Key, name
from rerankq.schema import Problem
from rerankq.status import CHUNKS, JobStatus
from tests.conftest import eventually
from tests.integration.openai_callers import KEYS, Service, service

__all__ = ["service"]

LINE = {
    "custom_id": "q1",
    "method": "POST",
    "url": "/v1/rerank",
    "body": {"query": "q", "documents": ["d"]},
}
LINES = (json.dumps(LINE) + "\n").encode()


@pytest.fixture
def file_id(service: Service) -> str:
    return service.alice.files.create(file=("lines.jsonl", LINES), purpose="batch").id


def create(service: Service, file_id: str, **more: Any) -> Batch:
    # The client's types know OpenAI's own endpoints alone.
    make: Callable[..., Batch] = service.alice.batches.create
    given = {"endpoint": "/v1/rerank", "completion_window": "24h", "input_file_id": file_id}
    return make(**given | more)


def record(service: Service, batch_id: str) -> BatchRecord:
    found = service.ledger.batch(batch_id)
    assert found is not None
    return found


def plan(service: Service, batch_id: str, chunks: int = 2) -> None:
    cut = [Chunk(n, n + 1, 1) for n in range(chunks)]
    assert service.ledger.run(batches.planned(f"{batch_id}:0", 1)).chunks == 0
    call = batches.planned(f"{batch_id}:0", 1, 0, cut, last=True)
    assert service.ledger.run(call).chunks == chunks


def score(service: Service, batch_id: str, k: int, bad: int = 0) -> None:
    done = ScoredPart(f"part-{k}", 3, pairs=6, tokens=60, truncated=1, records=3, bad=bad)
    call = batches.part(f"{batch_id}:{k}", done, max_errors=None, model="m", revision="r")
    assert service.ledger.run(call) == "stored"


def merge(service: Service, batch_id: str, entry: int, *, errors: bool = False) -> None:
    spec = record(service, batch_id).spec
    Path(spec.output).parent.mkdir(parents=True, exist_ok=True)
    Path(spec.output).write_bytes(b"the output\n")
    if errors:
        Path(spec.errors).write_bytes(b"the errors\n")
    assert service.ledger.run(batches.merged(f"{batch_id}:{entry}", errors=errors)) == "stored"


def test_a_batch_from_its_file_to_its_output(service: Service, file_id: str) -> None:
    made = create(service, file_id, metadata={"run": "7"})
    assert (made.object, made.status, made.endpoint) == ("batch", "validating", "/v1/rerank")
    assert (made.input_file_id, made.completion_window) == (file_id, "24h")
    assert made.metadata == {"run": "7"}
    assert made.expires_at == made.created_at + 86_400
    assert made.output_file_id is None
    spec = record(service, made.id).spec
    assert Path(spec.input).read_bytes() == LINES
    assert (spec.input_format, spec.output_format) == ("openai", "openai")
    assert "models/demo" in spec.models

    plan(service, made.id)
    assert service.alice.batches.retrieve(made.id).status == "in_progress"
    score(service, made.id, 1)
    running = service.alice.batches.retrieve(made.id)
    assert running.request_counts is not None
    assert running.request_counts.model_dump() == {"total": 3, "completed": 3, "failed": 0}
    score(service, made.id, 2, bad=1)
    assert service.alice.batches.retrieve(made.id).status == "finalizing"
    merge(service, made.id, 3, errors=True)

    done = service.alice.batches.retrieve(made.id)
    assert done.status == "completed"
    assert done.request_counts is not None
    assert done.request_counts.model_dump() == {"total": 6, "completed": 5, "failed": 1}
    assert done.output_file_id is not None
    assert done.error_file_id is not None
    assert done.in_progress_at is not None
    assert done.finalizing_at is not None
    assert done.completed_at is not None
    assert done.cancelled_at is None
    assert service.alice.files.content(done.output_file_id).read() == b"the output\n"
    assert service.alice.files.content(done.error_file_id).read() == b"the errors\n"
    output = service.alice.files.retrieve(done.output_file_id)
    assert output.purpose == "batch_output"
    assert output.filename == f"{made.id}_output.jsonl"
    assert output.bytes == len(b"the output\n")
    assert done.output_file_id in [file.id for file in service.alice.files.list()]


def test_reading_it_again_makes_nothing_anew(service: Service, file_id: str) -> None:
    made = create(service, file_id)
    plan(service, made.id, 0)
    merge(service, made.id, 1)
    first = service.alice.batches.retrieve(made.id)
    assert first.output_file_id is not None
    assert service.alice.batches.retrieve(made.id) == first
    service.alice.files.delete(first.output_file_id)
    assert service.alice.batches.retrieve(made.id) == first
    with pytest.raises(openai.NotFoundError):
        service.alice.files.content(first.output_file_id)


def test_before_its_end_its_output_is_nobodys(service: Service, file_id: str) -> None:
    made = create(service, file_id)
    service.alice.batches.cancel(made.id)
    ended = service.alice.batches.retrieve(made.id)
    assert (ended.status, ended.output_file_id) == ("cancelled", None)
    listed = [file.filename for file in service.alice.files.list()]
    assert not [filename for filename in listed if made.id in filename]


def test_a_cancelled_batch_keeps_what_was_scored(service: Service, file_id: str) -> None:
    made = create(service, file_id)
    plan(service, made.id)
    score(service, made.id, 1)
    stopped = service.alice.batches.cancel(made.id)
    assert stopped.status == "cancelling"
    assert stopped.cancelling_at is not None
    assert service.alice.batches.cancel(made.id).status == "cancelling"
    merge(service, made.id, 3)
    done = service.alice.batches.cancel(made.id)
    assert (done.status, done.completed_at) == ("cancelled", None)
    assert done.cancelled_at is not None
    assert done.output_file_id is not None
    assert service.alice.files.content(done.output_file_id).read() == b"the output\n"


def test_a_failed_batch_says_why(service: Service, file_id: str) -> None:
    made = create(service, file_id)
    why = Problem(title="x", status=422, code="input_changed", detail="it changed", field="input")
    service.ledger.run(batches.stop(made.id, JobStatus.FAILED, why))
    failed = service.alice.batches.retrieve(made.id)
    assert failed.status == "failed"
    assert failed.failed_at is not None
    assert failed.errors is not None
    assert failed.errors.data is not None
    (error,) = failed.errors.data
    assert (error.code, error.message, error.param) == ("input_changed", "it changed", "input")


def test_a_batch_belongs_to_the_key_that_made_it(service: Service, file_id: str) -> None:
    made = create(service, file_id)
    for call in (service.bob.batches.retrieve, service.bob.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            call(made.id)
    assert made.id not in [batch.id for batch in service.bob.batches.list()]
    with pytest.raises(openai.NotFoundError):
        service.bob.batches.list(after=made.id)
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        service.bob.batches.create(
            endpoint="/v1/rerank",  # type: ignore[arg-type]
            completion_window="24h",
            input_file_id=file_id,
        )
    assert caught.value.body["code"] == "input_missing"  # type: ignore[index]
    for strange in ("batch_1", "job_" + "0" * 32, made.id + "00000000"):
        with pytest.raises(openai.NotFoundError):
            service.alice.batches.retrieve(strange)


def test_the_list_pages(service: Service, file_id: str) -> None:
    made = [create(service, file_id).id for _ in range(3)]
    page = service.alice.batches.list(limit=2)
    assert [batch.id for batch in page.data] == made[:0:-1]
    assert page.has_more
    everything = [batch.id for batch in service.alice.batches.list(limit=2)]
    assert everything[:3] == made[::-1]
    assert len(everything) == len(set(everything))


def test_an_idempotency_key_gives_the_same_batch(service: Service, file_id: str) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = create(service, file_id, extra_headers=headers)
    assert create(service, file_id, extra_headers=headers) == first
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        create(service, file_id, extra_headers=headers, metadata={"other": "body"})
    assert caught.value.body["code"] == "idempotency_conflict"  # type: ignore[index]
    assert create(service, file_id).id != first.id


@pytest.mark.parametrize(
    ("change", "status", "code", "field"),
    [
        ({"endpoint": "/v1/embeddings"}, 422, "invalid_request", "endpoint"),
        ({"completion_window": "soon"}, 422, "invalid_request", "completion_window"),
        ({"completion_window": "31d"}, 422, "invalid_request", "completion_window"),
        ({"model": "gpt-6"}, 404, "model_not_found", "model"),
        ({"input_file_id": "file-0"}, 422, "input_missing", "input_file_id"),
        ({"input_file_id": "../../etc/passwd"}, 422, "input_missing", "input_file_id"),
        ({"input_file_id": None}, 422, "invalid_request", "input_file_id"),
        ({"input_uri": "s3://allowed/in/a"}, 422, "invalid_request", "input_file_id"),
        ({"input_file_id": None, "input_uri": "/etc/passwd"}, 403, "uri_not_allowed", "input_uri"),
        (
            {"input_file_id": None, "input_uri": "file:///etc/passwd"},
            403,
            "uri_not_allowed",
            "input_uri",
        ),
        (
            {"input_file_id": None, "input_uri": "s3://allowed/in/../x"},
            403,
            "uri_not_allowed",
            "input_uri",
        ),
        ({"output_uri": "s3://allowed/index/out"}, 403, "uri_not_allowed", "output_uri"),
        ({"corpus_uri": "s3://allowed/in/a"}, 422, "invalid_request", "corpus_uri"),
        ({"input_format": "trec"}, 422, "invalid_request", "corpus_file_id"),
        ({"partitioned": True}, 422, "invalid_request", "partitioned"),
        ({"metadata": {str(n): "" for n in range(17)}}, 422, "invalid_request", "metadata"),
        ({"metadata": {"a": "x" * 513}}, 422, "invalid_request", "metadata.a"),
        ({"tag": "a b"}, 422, "invalid_request", "tag"),
        ({"top_k": 0}, 422, "invalid_request", "top_k"),
        ({"unknown": 1}, 422, "invalid_request", "unknown"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 1}},
            422,
            "invalid_request",
            "output_expires_after.seconds",
        ),
    ],
)
def test_a_wrong_field_is_named(
    service: Service, file_id: str, change: dict[str, Any], status: int, code: str, field: str
) -> None:
    body = {"endpoint": "/v1/rerank", "completion_window": "24h", "input_file_id": file_id}
    answer = service.http.post("/v1/batches", json=body | change)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (status, code, field)


def test_a_missing_file_and_a_gone_one_are_told_at_once(service: Service, file_id: str) -> None:
    spec = record(service, create(service, file_id).id).spec
    Path(spec.input).unlink()
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        create(service, file_id)
    assert caught.value.body["code"] == "input_missing"  # type: ignore[index]


def test_the_files_of_another_purpose_are_no_input(service: Service) -> None:
    other = service.alice.files.create(file=("a", LINES), purpose="user_data")
    with pytest.raises(openai.UnprocessableEntityError, match="purpose must be batch"):
        create(service, other.id)


def test_an_output_is_kept_as_long_as_its_maker_says(service: Service, file_id: str) -> None:
    kept = {"anchor": "created_at", "seconds": 7200}
    made = create(service, file_id, output_expires_after=kept)
    plan(service, made.id, 0)
    merge(service, made.id, 1)
    done = service.alice.batches.retrieve(made.id)
    assert done.output_file_id is not None
    output = service.alice.files.retrieve(done.output_file_id)
    assert output.expires_at == output.created_at + 7200


def test_an_output_that_nobody_asks_for_goes_too(service: Service, file_id: str) -> None:
    made = create(service, file_id)
    due: Any = service.redis.zrange(name(Key.FILES_OVER), 0, -1, withscores=True)
    urls: Any = {service.redis.hget(name(Key.FILE, file.decode()), "url"): at for file, at in due}
    spec = record(service, made.id).spec
    now = made.created_at * 1000
    for url in (spec.output, spec.errors):
        assert now + 30 * 86_400_000 < urls[url.encode()] < now + 34 * 86_400_000


def over_at(service: Service, batch_id: str) -> float | None:
    """When the parts of a batch go, in ms."""
    at: Any = service.redis.zscore(name(Key.FILES_OVER), file_id_of(batch_id, "work"))
    return None if at is None else float(at)


def test_the_parts_of_a_batch_that_was_stopped_are_kept_as_long_as_it_is(
    service: Service, file_id: str
) -> None:
    made = create(service, file_id)
    plan(service, made.id)
    part = Path(record(service, made.id).spec.work) / "part-1"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"a part")
    score(service, made.id, 1)
    service.alice.batches.cancel(made.id)
    merge(service, made.id, 3)
    assert service.alice.batches.retrieve(made.id).status == "cancelled"
    ended = record(service, made.id).finished
    assert ended is not None
    assert over_at(service, made.id) == ended + 86_400_000
    service.redis.hset(name(Key.FILE, file_id_of(made.id, "work")), "expires", 1)
    service.redis.zadd(name(Key.FILES_OVER), {file_id_of(made.id, "work"): 1})
    eventually(lambda: not part.parent.exists())
    listed = [file.purpose for file in service.alice.files.list()]
    assert "batch_parts" not in listed


def test_the_same_again_takes_over_the_parts_of_one_that_was_stopped(
    service: Service, file_id: str
) -> None:
    first = create(service, file_id, metadata={"try": "1"})
    running = create(service, file_id, metadata={"try": "2"})
    works = [record(service, batch.id).spec.work for batch in (first, running)]
    assert works[0] != works[1], "the first may still be merged from its parts"
    service.alice.batches.cancel(running.id)
    other = create(service, file_id, completion_window="7d")
    again = create(service, file_id, metadata={"try": "3"})
    once_more = create(service, file_id)
    assert record(service, other.id).spec.work not in works
    assert record(service, again.id).spec.work == works[1]
    assert record(service, once_more.id).spec.work not in works
    assert over_at(service, running.id) is None
    assert over_at(service, again.id) is not None
    model = "m@r/float32"
    fingerprints = [record(service, b.id).spec.fingerprint(model) for b in (running, again)]
    assert fingerprints[0] == fingerprints[1]


def test_the_queue_shows_the_chunks_and_whose_they_are(service: Service, file_id: str) -> None:
    for batch in service.alice.batches.list():
        if batch.status not in ("completed", "failed", "cancelled", "expired"):
            service.ledger.run(batches.stop(batch.id, JobStatus.CANCELLED, at_once=True))
    assert service.redis.zcard(name(Key.PENDING, CHUNKS)) == 0
    ours = create(service, file_id)
    plan(service, ours.id, 3)
    score(service, ours.id, 1)
    theirs = service.bob.files.create(file=("lines.jsonl", LINES), purpose="batch")
    make: Callable[..., Batch] = service.bob.batches.create
    make(endpoint="/v1/rerank", completion_window="24h", input_file_id=theirs.id)
    queue = service.http.get("/v1/queue").json()
    assert set(queue["lanes"]) == {"interactive", "bulk"}
    assert queue["chunks"]["waiting"] == 3
    assert queue["chunks"]["in_flight"] == 0
    assert queue["chunks"]["oldest_s"] >= 0
    assert queue["backlog"] == 3
    (shown,) = queue["batches"]
    assert shown["share"] == pytest.approx(2 / 3)
    del shown["share"]
    assert shown == {"id": ours.id, "status": "in_progress", "chunks": 3, "chunks_done": 1}
    metrics = httpx.get(f"{service.system.url}/metrics").text
    assert 'rerankq_queue_waiting{lane="chunks"} 3.0' in metrics


def test_other_callers_of_the_queue_see_the_load_alone(service: Service) -> None:
    headers = {"Authorization": f"Bearer {KEYS['bob']}"}
    queue = httpx.get(f"{service.system.url}/v1/queue", headers=headers).json()
    mine = {batch.id for batch in service.bob.batches.list()}
    assert {batch["id"] for batch in queue["batches"]} <= mine
