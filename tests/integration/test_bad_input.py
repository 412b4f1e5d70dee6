"""Every wrong request is a problem that names the field and the limit, and enqueues nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis

from scripts.localsystem import LocalSystem
from tests.conftest import StartSystem

BROKEN = "job_" + "0" * 32
GOOD = {"query": "q", "documents": ["d"]}


@pytest.fixture(scope="module")
def http(start_system: StartSystem) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PROMETHEUS_MULTIPROC_DIR", "/nowhere/at/all")
        system: LocalSystem = start_system(workers=0, max_documents="10", max_body_bytes="4194304")
    with httpx.Client(base_url=system.url, timeout=30) as http:
        yield http
        assert http.get("/v1/queue").json()["backlog"] == 0
        assert http.get("/v1/jobs").json()["data"] == []


@pytest.fixture(scope="module")
def generous(start_system: StartSystem) -> Iterator[httpx.Client]:
    """One that looks at each of a million documents."""
    system = start_system(workers=0, max_documents="1000000")
    with httpx.Client(base_url=system.url, timeout=5) as http:
        yield http


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    return problem


@pytest.mark.parametrize(
    ("change", "field", "limit"),
    [
        ({"query": ""}, "query", None),
        ({"query": " \n\t"}, "query", None),
        ({"query": 7}, "query", None),
        ({"query": None}, "query", None),
        ({"query": "x" * 65_537}, "query", 65_536),
        ({"documents": []}, "documents", 1),
        ({"documents": "d"}, "documents", None),
        ({"documents": ["d", 7]}, "documents.1", None),
        ({"documents": [{"id": "x"}]}, "documents.0.text", None),
        ({"documents": [{"text": "d", "extra": 1}]}, "documents.0.extra", None),
        ({"documents": [{"text": "d", "id": 7}]}, "documents.0.id", None),
        ({"instruction": " "}, "instruction", None),
        ({"instruction": "x" * 16_385}, "instruction", 16_384),
        ({"top_n": 0}, "top_n", 1),
        ({"top_n": "3"}, "top_n", None),
        ({"top_n": 1.5}, "top_n", None),
        ({"lane": "fast"}, "lane", "'interactive' or 'bulk'"),
        ({"return_documents": "yes"}, "return_documents", None),
        ({"raw_scores": 1}, "raw_scores", None),
        ({"expires_in": 0}, "expires_in", 0),
        ({"expires_in": 10**9}, "expires_in", 2_592_000),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc", 1),
        ({"metadata": []}, "metadata", None),
        ({"metadata": {"x": "y" * 16_384}}, "metadata", 16_384),
        ({"unknown": 1}, "unknown", None),
        ({"webhook_url": "ftp://x/y"}, "webhook_url", None),
        ({"webhook_url": "http://"}, "webhook_url", None),
        ({"webhook_url": "http://user:word@x/"}, "webhook_url", None),
        ({"webhook_url": "http://x:port/"}, "webhook_url", None),
        ({"webhook_url": "http://x/ y"}, "webhook_url", None),
        ({"webhook_url": "http://x/" + "y" * 2_048}, "webhook_url", 2_048),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else None,
)
def test_a_wrong_field_is_named(
    http: httpx.Client, change: dict[str, Any], field: str, limit: Any
) -> None:
    problem = refused(http.post("/v1/jobs", json=GOOD | change), 422, "invalid_request")
    assert problem["field"] == field
    assert field.split(".")[0] in problem["detail"]
    if limit is not None:
        assert problem["limit"] == limit
    assert "yyyy" not in problem["detail"]  # never the caller's text


@pytest.mark.parametrize("missing", ["query", "documents"])
def test_a_missing_field_is_named(http: httpx.Client, missing: str) -> None:
    body = {key: value for key, value in GOOD.items() if key != missing}
    for path in ("/v1/jobs", "/v1/rerank"):
        assert refused(http.post(path, json=body), 422, "invalid_request")["field"] == missing


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"nonsense", b'{"query": "q", "documents": ["d"]', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "open", "word", "cut", "not utf-8", "deep"],
)
def test_broken_json_is_400(http: httpx.Client, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/v1/jobs", "/v1/rerank"):
        answer = http.post(path, content=content, headers=headers)
        assert answer.status_code in (400, 422)
        assert answer.json()["code"] in ("invalid_json", "invalid_request")


@pytest.mark.parametrize(
    ("start", "element", "end"),
    [
        (b'{"query": "q", "documents": [', b"1,", b"1]}"),
        (b'{"query": "q", "documents": [', b"{},", b"{}]}"),
        (b'{"query": "q", "documents": [', b'{"id": 1},', b"{}]}"),
    ],
    ids=["numbers", "objects", "wrong objects"],
)
def test_a_million_errors_are_as_quick_as_one(
    generous: httpx.Client, start: bytes, element: bytes, end: bytes
) -> None:
    """An error was made of each: seven seconds and 700 MB for a body of 1 MiB."""
    body = start + element * (1_900_000 // len(element)) + end
    headers = {"Content-Type": "application/json"}
    for path in ("/v1/jobs", "/v1/rerank"):
        answer = generous.post(path, content=body, headers=headers)
        assert refused(answer, 422, "invalid_request")["field"].startswith("documents.0")
        assert len(answer.content) < 2_000


def test_a_million_unknown_fields_are_as_quick_as_one(http: httpx.Client) -> None:
    fields = ",".join(f'"{n}":0' for n in range(300_000))
    body = '{"query": "q", "documents": ["d"],' + fields + "}"
    headers = {"Content-Type": "application/json"}
    answer = http.post("/v1/jobs", content=body, headers=headers, timeout=5)
    assert refused(answer, 422, "invalid_request")["field"] == "0"
    long = http.post("/v1/jobs", json=GOOD | {"x" * 100_000: 1})
    assert len(refused(long, 422, "invalid_request")["field"]) <= 300
    assert len(long.content) < 2_000


@pytest.mark.parametrize("body", ["[]", "3", '"text"', "null"])
def test_json_that_is_no_object(http: httpx.Client, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    refused(http.post("/v1/jobs", content=body, headers=headers), 422, "invalid_request")


@pytest.mark.parametrize(
    "content",
    [
        r'{"query": "\ud800", "documents": ["d"]}',
        r'{"query": "q", "documents": ["\udfff"]}',
        r'{"query": "q", "documents": [{"text": "d", "id": "\ud800"}]}',
        r'{"query": "q", "documents": ["d"], "metadata": {"a": "\ud800"}}',
        r'{"query": "q", "documents": ["d"], "metadata": {"a": NaN}}',
        r'{"query": "q", "documents": ["d"], "metadata": {"a": 1e999}}',
        r'{"query": "q", "documents": ["d"], "expires_in": NaN}',
        r'{"query": "q", "documents": ["d"], "expires_in": Infinity}',
        r'{"query": "q", "documents": ["d"], "model": "\ud800"}',
        r'{"query": "q", "documents": ["d"], "\ud800": 1}',
    ],
)
def test_what_no_answer_could_carry_is_refused(http: httpx.Client, content: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = http.post("/v1/jobs", content=content, headers=headers)
    refused(answer, 422, "invalid_request")


@pytest.mark.parametrize(
    ("path", "field", "body"),
    [
        ("/v1/jobs", "documents", {"query": "q"}),
        ("/v1/rerank", "documents", {"query": "q", "rank_fields": ["title"]}),
        ("/rerank", "texts", {"query": "q"}),
        ("/v1/score", "text_2", {"text_1": "q"}),
        ("/v1/score", "queries", {"documents": ["d"]}),
    ],
)
def test_too_many_documents(
    http: httpx.Client, path: str, field: str, body: dict[str, Any]
) -> None:
    """Before any is looked at: a million of them took seconds to be read, all others' too."""
    for one in ("d", 7):
        answer = http.post(path, json=body | {field: [one] * 11})
        problem = refused(answer, 413, "too_large")
        assert (problem["field"], problem["limit"]) == (field, 10)


@pytest.mark.parametrize("document", ["x" * 1_048_577, {"text": "x" * 1_048_577}])
def test_too_long_a_document(http: httpx.Client, document: Any) -> None:
    problem = refused(
        http.post("/v1/jobs", json=GOOD | {"documents": ["d", document]}), 413, "too_large"
    )
    assert problem["limit"] == 1_048_576
    assert problem["field"].startswith("documents.1")


def test_too_long_a_body_declared_or_not(http: httpx.Client) -> None:
    body = json.dumps(GOOD | {"documents": ["x" * 900_000] * 6}).encode()
    headers = {"Content-Type": "application/json"}
    declared = http.post("/v1/jobs", content=body, headers=headers)
    assert refused(declared, 413, "too_large")["limit"] == 4_194_304

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    streamed = http.post("/v1/jobs", content=chunks(), headers=headers)
    assert refused(streamed, 413, "too_large")["field"] == "body"


def test_an_unknown_model_is_404_with_the_list(http: httpx.Client) -> None:
    for path in ("/v1/jobs", "/v1/rerank"):
        problem = refused(http.post(path, json=GOOD | {"model": "gpt-5"}), 404, "model_not_found")
        assert problem["field"] == "model"
        assert "models/demo" in problem["detail"]


@pytest.mark.parametrize(
    "job_id", ["job_0", "x", "job_0:in", "..%2f..", "job_" + "0" * 4000, "%ff", "🙂"]
)
def test_an_unknown_job_is_404(http: httpx.Client, job_id: str) -> None:
    assert http.get(f"/v1/jobs/{job_id}").status_code == 404
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 404
    assert http.get(f"/v1/jobs/{job_id}/results").status_code == 404


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/jobs?limit=0", "limit"),
        ("/v1/jobs?limit=1000", "limit"),
        ("/v1/jobs?status=done", "status"),
        ("/v1/jobs?cursor=x", "cursor"),
        ("/v1/jobs/job_0?wait=61", "wait"),
        ("/v1/jobs/job_0?wait=soon", "wait"),
        ("/v1/jobs/job_0?partial=maybe", "partial"),
    ],
)
def test_a_wrong_parameter_is_named(http: httpx.Client, path: str, field: str) -> None:
    assert refused(http.get(path), 422, "invalid_request")["field"] == field


@pytest.mark.parametrize("given", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_wrong_content_type_is_named(http: httpx.Client, given: str | None) -> None:
    headers = {"Content-Type": given} if given else {}
    answer = http.post("/v1/jobs", content=json.dumps(GOOD), headers=headers)
    assert refused(answer, 415, "unsupported_media_type")["field"] == "Content-Type"


def test_a_wrong_header_is_named(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs", json=GOOD, headers={"Idempotency-Key": "x" * 256})
    assert refused(answer, 422, "invalid_request")["limit"] == 255


def test_unknown_paths_and_methods_are_problems(http: httpx.Client) -> None:
    refused(http.get("/v2/nothing"), 404, "not_found")
    refused(http.put("/v1/jobs"), 405, "method_not_allowed")


@pytest.mark.parametrize("tail", ["%0a", "%0A%0A", "%0d%0a", "/", "%2f", "%00", "%20", ";x"])
def test_a_path_with_something_behind_it_is_another(http: httpx.Client, tail: str) -> None:
    """The framework takes one with a line feed for the path itself."""
    for path in ("/v1/rerank", "/v1/jobs"):
        refused(http.post(path + tail, json=GOOD), 404, "not_found")
    for path in ("/metrics", "/livez", "/v1/jobs/job_0"):
        refused(http.get(path + tail), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "change", "words"),
    [
        ("/v1/jobs", {"query": 7}, "query: must be a string"),
        ("/v1/jobs", {"documents": "d"}, "documents: must be a list"),
        ("/v1/jobs", {"documents": []}, "documents: must have at least 1, has 0"),
        ("/v1/jobs", {"documents": [{}]}, "documents.0.text: is required"),
        ("/v1/jobs", {"top_n": "3"}, "top_n: must be a whole number"),
        ("/v1/jobs", {"top_n": 0}, "top_n: must be at least 1"),
        ("/v1/jobs", {"expires_in": 10**9}, "expires_in: must be at most 2592000"),
        ("/v1/jobs", {"expires_in": 0}, "expires_in: must be more than 0"),
        ("/v1/jobs", {"lane": "fast"}, "lane: must be 'interactive' or 'bulk'"),
        ("/v1/jobs", {"raw_scores": 1}, "raw_scores: must be true or false"),
        ("/v1/jobs", {"metadata": []}, "metadata: must be an object"),
        ("/v1/rerank", {"query": None}, "query: must be a string"),
        ("/v1/rerank", {"top_n": 1.5}, "top_n: must be a whole number"),
        ("/v1/rerank", {"return_documents": "perhaps"}, "return_documents: must be true or false"),
        ("/v1/rerank", {"rank_fields": ["a"] * 65}, "rank_fields: must have at most 64, has 65"),
    ],
)
def test_a_refusal_says_what_was_expected_in_plain_words(
    http: httpx.Client, path: str, change: dict[str, Any], words: str
) -> None:
    answer = http.post(path, json=GOOD | change)
    assert refused(answer, 422, "invalid_request")["detail"] == words


def test_a_body_that_is_no_object_is_told_so(http: httpx.Client) -> None:
    for path in ("/v1/jobs", "/v1/rerank"):
        told = refused(http.post(path, json=[]), 422, "invalid_request")
        assert told["detail"] == "body: must be an object"


def test_a_folder_for_metrics_that_is_none_of_ours_is_left_alone(http: httpx.Client) -> None:
    assert "rerankq_http_requests_total{" in http.get("/metrics").text


@pytest.mark.parametrize("part", [":in", ":out", ":echo"])
def test_a_job_s_other_records_are_no_jobs(broken_record: LocalSystem, part: str) -> None:
    with redis.Redis.from_url(broken_record.redis_url) as client:
        client.hset(f"rerankq:job:{BROKEN}{part}", "0", b"\xff")
    assert httpx.get(f"{broken_record.url}/v1/jobs/{BROKEN}{part}").status_code == 404


def test_an_error_of_ours_is_a_problem_too(broken_record: LocalSystem) -> None:
    answer = httpx.get(f"{broken_record.url}/v1/jobs/{BROKEN}", headers={"X-Request-ID": "find-me"})
    assert refused(answer, 500, "internal")["request_id"] == "find-me"
    log = (broken_record.folder / "logs" / "api.log").read_text()
    assert any("KeyError" in line and "find-me" in line for line in log.splitlines())


@pytest.fixture(scope="module")
def broken_record(start_system: StartSystem) -> LocalSystem:
    system: LocalSystem = start_system(workers=0)
    with redis.Redis.from_url(system.redis_url) as client:
        client.hset(f"rerankq:job:{BROKEN}", "status", "queued")
    return system


def test_a_request_id_is_kept_if_it_is_one(http: httpx.Client) -> None:
    assert http.get("/livez", headers={"X-Request-ID": "abc-1"}).headers["X-Request-ID"] == "abc-1"
    long = http.get("/livez", headers={"X-Request-ID": "x" * 200}).headers["X-Request-ID"]
    assert long.startswith("req_")
