"""Jobs over real HTTP, a real worker and the demo model: submit, wait, read, list, cancel."""

from __future__ import annotations

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import redis

from rerankq import Client, Document, JobFailed, JobStatus, NotFound
from scripts.localsystem import LocalSystem
from tests.conftest import StartSystem, eventually

QUERY = "how do I see which process uses a network port?"
DOCUMENTS = [
    "Knead the dough for ten minutes and let it rest.",
    "ss -ltnp lists the listening network ports together with the process that uses each of them.",
    "sed is a stream editor that transforms text line by line.",
]


@pytest.fixture
def http(demo_system: LocalSystem) -> Any:
    with httpx.Client(base_url=demo_system.url, timeout=30) as http:
        yield http


def test_submit_answers_202_and_the_ranking_follows(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs", json={"query": QUERY, "documents": DOCUMENTS})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["X-Request-ID"]
    done = http.get(answer.headers["Location"], params={"wait": 30}).json()
    assert done["status"] == "succeeded"
    assert done["results"][0]["index"] == 1
    assert done["results"][0]["relevance_score"] > 0.5 > done["results"][1]["relevance_score"]
    assert done["progress"] == {"scored": 3, "total": 3}
    assert done["usage"]["total_tokens"] > 100
    assert done["timing"]["queued_s"] >= 0
    assert done["model"]["revision"].startswith("local-")
    assert set(done["results"][0]) == {"index", "relevance_score"}


def test_prefer_wait_answers_200_with_the_finished_job(http: httpx.Client) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS}
    answer = http.post("/v1/jobs", json=body, headers={"Prefer": "respond-async, wait=30"})
    assert answer.status_code == 200
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert answer.json()["status"] == "succeeded"


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("WAIT=20", "wait=20"),
        ('wait="20"', "wait=20"),
        ("wait=900", "wait=60"),
        ("wait=abc", None),
        ("wait=1e9", None),
        ("wait", None),
        ("handling=lenient;wait=9", None),
    ],
)
def test_only_a_preference_to_wait_is_applied(
    http: httpx.Client, prefer: str, applied: str | None
) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS}
    answer = http.post("/v1/jobs", json=body, headers={"Prefer": prefer})
    assert answer.headers.get("Preference-Applied") == applied
    assert answer.status_code == (202 if applied is None else 200)


def test_everything_a_job_may_carry_comes_back(client: Client) -> None:
    documents: list[str | Document] = [Document(text=DOCUMENTS[1], id="ss"), DOCUMENTS[0], ""]
    job = client.submit(
        QUERY,
        documents,
        instruction="Given a question, find the command that answers it",
        top_n=2,
        return_documents=True,
        raw_scores=True,
        lane="bulk",
        metadata={"run": 7, "deep": [1, {"x": None}]},
    )
    done = client.wait(job.id, 30)
    assert done.lane == "bulk"
    assert done.metadata == {"run": 7, "deep": [1, {"x": None}]}
    assert done.results is not None
    assert next(r.index for r in done.results) == 0
    assert len(done.results) == 2
    assert done.results[0].id == "ss"
    assert done.results[0].document is not None
    assert done.results[0].document.text == DOCUMENTS[1]
    raw = done.results[0].relevance_score
    again = client.rerank(
        QUERY, documents, instruction="Given a question, find the command that answers it"
    )
    assert again[0].relevance_score == pytest.approx(1 / (1 + 2.718281828459045**-raw), abs=1e-6)


def test_truncation_is_reported(client: Client) -> None:
    job = client.wait(client.submit("q", ["short", "word " * 20_000]).id, 60)
    assert job.usage.truncated == 1
    assert {r.index: r.truncated for r in job.results or []} == {0: None, 1: True}


def test_top_n_over_the_count_is_clipped(client: Client) -> None:
    assert len(client.rerank(QUERY, DOCUMENTS, top_n=50)) == 3


def test_results_stream_as_ndjson(client: Client, http: httpx.Client) -> None:
    job = client.wait(client.submit(QUERY, DOCUMENTS).id, 30)
    assert list(client.results(job.id)) == job.results
    answer = http.get(f"/v1/jobs/{job.id}/results")
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert next(json.loads(line)["index"] for line in answer.text.splitlines()) == 1


def test_no_character_of_an_id_breaks_a_line_of_results(client: Client) -> None:
    names = ["a\u2028b", "c\x85d", "e\x0bf", "\U0001f642"]
    documents: list[str | Document] = [Document(text="d", id=name) for name in names]
    job = client.wait(client.submit("q", documents, return_documents=True).id, 30)
    assert {result.id for result in client.results(job.id)} == set(names)


def test_an_idempotency_key_gives_the_same_job(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"query": QUERY, "documents": DOCUMENTS}
    first = http.post("/v1/jobs", json=body, headers=headers)
    second = http.post("/v1/jobs", json=body, headers=headers)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    other = http.post("/v1/jobs", json=body | {"top_n": 1}, headers=headers)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_conflict"


def test_a_query_too_long_for_the_model_fails_the_job_with_its_limit(client: Client) -> None:
    with pytest.raises(JobFailed) as caught:
        client.rerank("word " * 12_000, ["d"])
    error = caught.value.job.error
    assert error is not None
    assert (error.code, error.field) == ("query_too_long", "query")
    assert isinstance(error.limit, int)


def test_a_deadline_ends_a_job(start_idle: LocalSystem) -> None:
    with Client(start_idle.url) as client:
        job = client.submit("q", ["d"], expires_in=0.2)
        done = client.wait(job.id, 30)
        assert done.status is JobStatus.EXPIRED
        with pytest.raises(JobFailed, match="deadline"):
            client.rerank("q", ["d"], expires_in=0.2)


@pytest.fixture(scope="module")
def start_idle(start_system: Any) -> LocalSystem:
    """A system without a worker, so that what is submitted stays queued."""
    return start_system(workers=0, sync_timeout="0.5", max_backlog="3")


def test_cancel_is_final_and_idempotent(start_idle: LocalSystem) -> None:
    with Client(start_idle.url) as client:
        job = client.submit("q", ["d"] * 3)
        assert job.status is JobStatus.QUEUED
        assert client.cancel(job.id).status is JobStatus.CANCELLED
        assert client.cancel(job.id).status is JobStatus.CANCELLED
        assert client.queue().backlog == 0


def test_a_long_poll_is_woken_by_the_end(start_idle: LocalSystem) -> None:
    with Client(start_idle.url) as client:
        job = client.submit("q", ["d"])
        ended: list[tuple[JobStatus, float]] = []

        def wait() -> None:
            with Client(start_idle.url) as other:
                done = other.get(job.id, wait=30)
                ended.append((done.status, time.monotonic()))

        thread = threading.Thread(target=wait)
        thread.start()
        eventually(lambda: _waiting(start_idle.url))
        cancelled = time.monotonic()
        client.cancel(job.id)
        thread.join(20)
        assert ended[0][0] is JobStatus.CANCELLED
        assert ended[0][1] - cancelled < 5


def _waiting(url: str) -> bool:
    text = httpx.get(f"{url}/metrics").text
    # The scrape itself is one.
    return "rerankq_http_requests_in_progress 2.0" in text


def test_a_full_backlog_is_429_with_a_time(start_idle: LocalSystem) -> None:
    with httpx.Client(base_url=start_idle.url) as http:
        body = {"query": "q", "documents": ["d"], "lane": "bulk"}
        jobs = [http.post("/v1/jobs", json=body).json()["id"] for _ in range(3)]
        full = http.post("/v1/jobs", json=body)
        assert full.status_code == 429
        assert int(full.headers["Retry-After"]) >= 1
        assert (full.json()["code"], full.json()["limit"]) == ("backlog_full", 3)
        queue = http.get("/v1/queue").json()
        assert queue["lanes"]["bulk"]["waiting"] == 3
        assert queue["lanes"]["bulk"]["oldest_s"] >= 0
        assert queue["backlog"] == 3
        assert queue["drain_s"] is None
        for job_id in jobs:
            http.delete(f"/v1/jobs/{job_id}")


def test_without_a_worker_a_synchronous_call_is_503_and_leaves_nothing(
    start_idle: LocalSystem,
) -> None:
    with httpx.Client(base_url=start_idle.url) as http:
        answer = http.post("/v1/rerank", json={"query": "q", "documents": ["d"]})
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert http.get("/v1/queue").json()["backlog"] == 0
        assert http.get("/health").json()["status"] == "no workers"


def test_listing_pages_newest_first(start_idle: LocalSystem) -> None:
    with Client(start_idle.url) as client:
        ids = [client.submit("q", ["d"], lane="bulk").id for _ in range(3)]
        for job_id in ids[:2]:
            client.cancel(job_id)
        with httpx.Client(base_url=start_idle.url) as http:
            page = http.get("/v1/jobs", params={"limit": 2}).json()
            assert [job["id"] for job in page["data"]] == ids[:0:-1]
            rest = http.get("/v1/jobs", params={"limit": 2, "cursor": page["next_cursor"]}).json()
            assert rest["data"][0]["id"] == ids[0]
        assert [job.id for job in client.jobs(JobStatus.QUEUED)] == [ids[2]]
        everything = [job.id for job in client.jobs()]
        assert everything[:3] == ids[::-1]
        assert len(set(everything)) == len(everything)
        client.cancel(ids[2])


def test_partial_results_and_unfinished_results(start_idle: LocalSystem) -> None:
    with Client(start_idle.url) as client, httpx.Client(base_url=start_idle.url) as http:
        job = client.submit("q", ["d"])
        assert client.get(job.id, partial=True).results == []
        assert client.get(job.id).results is None
        refused = http.get(f"/v1/jobs/{job.id}/results")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_succeeded")
        client.cancel(job.id)


def test_rerank_speaks_the_common_form(http: httpx.Client) -> None:
    body = {"query": QUERY, "documents": [*DOCUMENTS[:2], {"text": DOCUMENTS[2], "x": 1}]}
    answer = http.post("/v1/rerank", json=body | {"model": None, "top_n": None, "unknown": 1})
    assert answer.status_code == 200
    ranking = answer.json()
    assert ranking["object"] == "rerank"
    assert next(r["index"] for r in ranking["results"]) == 1
    assert ranking["data"] == ranking["results"]
    assert ranking["usage"]["total_tokens"] == ranking["usage"]["prompt_tokens"] > 0
    assert "document" not in ranking["results"][0]
    one = http.post("/v1/rerank", json=body | {"top_k": 1, "return_documents": True}).json()
    assert len(one["results"]) == 1
    assert one["results"][0]["document"] == {"text": DOCUMENTS[1]}
    long = http.post("/v1/rerank", json=body | {"query": "word " * 12_000})
    assert (long.status_code, long.json()["code"]) == (422, "query_too_long")


def test_service_calls(http: httpx.Client) -> None:
    assert http.get("/livez").text == "ok\n"
    assert http.get("/readyz").text == "ok\n"
    assert http.get("/health").json()["status"] == "ok"
    (model,) = http.get("/v1/models").json()["data"]
    assert model["template"] == "qwen3-reranker"
    assert model["instruction"] is True
    assert model["workers"] == 1
    assert http.get("/").json()["name"] == "rerankq"
    assert http.get("/docs").status_code == 200
    queue = http.get("/v1/queue").json()
    assert queue["workers"] == 1
    assert set(queue["lanes"]) == {"interactive", "bulk"}
    metrics = http.get("/metrics").text
    assert 'rerankq_jobs_total{lane="interactive",status="succeeded"}' in metrics
    assert "rerankq_backlog_tokens" in metrics
    assert 'rerankq_job_duration_seconds_count{lane="interactive"}' in metrics


def test_openapi_examples_are_accepted(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    content = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        assert http.post("/v1/jobs", json=example["value"]).status_code == 202


def test_a_job_of_another_key_is_no_job(start_system: Any) -> None:
    system = start_system(workers=0, api_keys="alice-key,bob-key")
    with (
        Client(system.url, api_key="alice-key") as alice,
        Client(system.url, api_key="bob-key") as bob,
    ):
        job = alice.submit("q", ["d"])
        assert [j.id for j in alice.jobs()] == [job.id]
        assert list(bob.jobs()) == []
        for call in (bob.get, bob.cancel):
            with pytest.raises(NotFound):
                call(job.id)
        assert alice.get(job.id).status is JobStatus.QUEUED
        with pytest.raises(NotFound):
            alice.get("job_0")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic alice-key"}):
        refused = httpx.get(f"{system.url}/v1/jobs", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    for path in ("/livez", "/readyz", "/health", "/metrics"):
        assert httpx.get(system.url + path).status_code == 200


def test_a_long_poll_outlives_its_subscription(start_system: StartSystem) -> None:
    """One that was cut is made anew, and what ended meanwhile is found by reading."""
    system = start_system(workers=0)
    with (
        redis.Redis.from_url(system.redis_url) as ledger,
        Client(system.url) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        job = client.submit(QUERY, DOCUMENTS)
        waiting = pool.submit(client.get, job.id, wait=25)
        assert ledger.execute_command("CLIENT", "KILL", "TYPE", "pubsub") >= 1
        started = time.monotonic()
        client.cancel(job.id)
        assert waiting.result(20).status is JobStatus.CANCELLED
        assert time.monotonic() - started < 10


def test_a_result_whose_time_ends_while_it_is_read_is_404(
    client: Client, http: httpx.Client, demo_system: LocalSystem
) -> None:
    job = client.wait(client.submit(QUERY, DOCUMENTS).id)
    with redis.Redis.from_url(demo_system.redis_url) as ledger:
        ledger.delete(f"rerankq:job:{job.id}:out")
    assert http.get(f"/v1/jobs/{job.id}").status_code == 404
    assert http.get(f"/v1/jobs/{job.id}/results").status_code == 404


def test_the_last_page_has_no_cursor(start_system: StartSystem) -> None:
    system = start_system(workers=0)
    with Client(system.url) as client:
        ids = [client.submit(QUERY, DOCUMENTS).id for _ in range(4)]
    pages = []
    cursor = None
    while True:
        params = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = httpx.get(f"{system.url}/v1/jobs", params=params).json()
        pages.append([job["id"] for job in page["data"]])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert pages == [ids[:1:-1], ids[1::-1]]
