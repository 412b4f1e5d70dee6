"""Every dialect over real HTTP: the same scores, and each refusal where its clients look for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from rerankq import JobStatus, Lane, Operator
from scripts.localsystem import LocalSystem
from tests.conftest import StartSystem, eventually

KEY = {"Authorization": "Bearer a-key-of-search"}
QUERY = "how do I see which process uses a network port?"
DOCUMENTS = [
    "Knead the dough for ten minutes and let it rest.",
    "ss -ltnp lists the listening network ports together with the process that uses each of them.",
    "",
    "Zeigt, welcher Prozeß den Port benutzt: ss -ltnp 🙂",
    "Knead the dough for ten minutes and let it rest.",
]
LONG = "a port and its process " * 200
SYNC_TIMEOUT_S = 3.0
MAX_BACKLOG = 8


@dataclass(frozen=True)
class Call:
    """One path in one dialect.

    Attributes:
        names: of the fields that hold the query and the documents.
        results: where the ranking lies; None: it is the answer.
        told: reads an error as the dialect's clients do.
        statuses: where they are not ours.
    """

    path: str
    names: tuple[str, str]
    results: str | None
    score: str
    told: Callable[[Any], object]
    statuses: tuple[tuple[int, int], ...] = ()

    def body(self, query: object, documents: object) -> dict[str, Any]:
        return {self.names[0]: query, self.names[1]: documents}

    def rows(self, answer: httpx.Response) -> list[tuple[int, float]]:
        """Index and score of each result, in the answer's order."""
        assert answer.status_code == 200, answer.text
        told = answer.json()
        results = told if self.results is None else told[self.results]
        return [(result["index"], result[self.score]) for result in results]


def nested(error: Any) -> object:
    return error["error"]["message"]


CALLS = [
    Call(
        "/v1/rerank",
        ("query", "documents"),
        "results",
        "relevance_score",
        lambda error: error["message"] if error["message"] == nested(error) else None,
    ),
    Call("/rerank", ("query", "documents"), "results", "relevance_score", lambda e: e["message"]),
    Call(
        "/v2/rerank", ("query", "documents"), "results", "relevance_score", lambda e: e["message"]
    ),
    Call("/rerank", ("query", "texts"), None, "score", lambda error: error["error"]),
    Call("/v1/score", ("queries", "documents"), "data", "score", nested),
    Call("/score", ("text_1", "text_2"), "data", "score", nested),
    Call("/infinity/rerank", ("query", "documents"), "results", "relevance_score", nested),
    Call(
        "/voyage/v1/rerank",
        ("query", "documents"),
        "data",
        "relevance_score",
        lambda error: error["detail"],
        ((404, 400), (413, 400), (422, 400)),
    ),
]
each = pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.path} {call.names[1]}")
MAJORITY, TEI, SCORE = CALLS[0], CALLS[3], CALLS[4]


@pytest.fixture(scope="module")
def system(start_system: StartSystem) -> LocalSystem:
    return start_system(
        api_keys="search a-key-of-search,other a-key-of-another",
        operators="search",
        max_documents="10",
        max_body_bytes="65536",
        max_length="256",
        max_backlog=str(MAX_BACKLOG),
        sync_timeout=str(SYNC_TIMEOUT_S),
    )


@pytest.fixture(scope="module")
def http(system: LocalSystem) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=system.url, headers=KEY, timeout=30) as http:
        yield http


def scores(http: httpx.Client, call: Call, documents: list[Any], **more: Any) -> dict[int, float]:
    return dict(call.rows(http.post(call.path, json=call.body(QUERY, documents) | more)))


@pytest.fixture(scope="module")
def expected(http: httpx.Client) -> dict[int, float]:
    body = {"query": QUERY, "documents": DOCUMENTS}
    job = http.post("/v1/jobs", json=body, headers={"Prefer": "wait=30"}).json()
    return {result["index"]: result["relevance_score"] for result in job["results"]}


@each
def test_scores_are_the_same_in_every_dialect(
    http: httpx.Client, expected: dict[int, float], call: Call
) -> None:
    rows = call.rows(http.post(call.path, json=call.body(QUERY, DOCUMENTS)))
    assert dict(rows) == pytest.approx(expected, abs=1e-4)
    assert len(rows) == len(DOCUMENTS)
    order = [index for index, _ in rows]
    if call.score == "score" and call.results:
        assert order == sorted(order)
    else:
        assert [score for _, score in rows] == sorted(expected.values(), reverse=True)
        assert order.index(0) + 1 == order.index(4), "equal ones, by index"


@each
def test_a_problem_of_the_request_is_told_in_the_dialect_s_form(
    http: httpx.Client, call: Call
) -> None:
    query, documents = call.names
    good = call.body("q", ["d"])
    wrong: list[tuple[Any, int, str]] = [
        (good | {query: " "}, 422, "blank"),
        (good | {query: 7}, 422, query),
        (good | {documents: []}, 422, documents),
        (good | {documents: ["d", 7]}, 422, f"{documents}.1"),
        ({documents: ["d"]}, 422, query),
        (good | {documents: ["d"] * 11}, 413, "the limit is 10"),
        (good | {documents: ["x" * 70_000]}, 413, "the limit of 65536"),
        (good | {"model": "gpt-5"}, 404, "models/demo"),
        (good | {"instruct": "one", "prompt": "another"}, 422, "prompt"),
        (good | {query: "word " * 2_000}, 422, f"{query}: "),
        (good | {"prompt": "word " * 2_000}, 422, "prompt: "),
        (b"{", 400, "not JSON"),
    ]
    for body, status, words in wrong:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = http.post(call.path, content=content, headers={"Content-Type": "application/json"})
        refused(answer, call, dict(call.statuses).get(status, status), words)
        if call.path == "/rerank" and status in (404, 422):
            assert ("error_type" in answer.json()) is (call is TEI), "once the body is known"


def refused(answer: httpx.Response, call: Call, status: int, words: str = "") -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    error = answer.json()
    assert error["status"] == status
    assert error["request_id"] == answer.headers["X-Request-ID"]
    assert call.told(error) == error["detail"]
    assert words in error["detail"]


@each
def test_a_wrong_key(system: LocalSystem, call: Call) -> None:
    for headers in ({}, {"Authorization": "Bearer another"}):
        answer = httpx.post(system.url + call.path, json=call.body("q", ["d"]), headers=headers)
        refused(answer, call, 401, "API key")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_what_needs_no_key_is_listed(system: LocalSystem) -> None:
    openapi = httpx.get(f"{system.url}/openapi.json").json()
    shut = {path for path in openapi["paths"] if httpx.get(system.url + path).status_code == 401}
    assert openapi["paths"].keys() - shut == {"/", "/livez", "/readyz", "/health", "/metrics"}
    assert httpx.get(f"{system.url}/docs").status_code == 200
    for path in ("/nothing", "/livez%0a", "/metrics%0a", "/v1/rerank%0a"):
        assert httpx.get(system.url + path).status_code == 401


def test_a_job_belongs_to_the_key(system: LocalSystem, http: httpx.Client) -> None:
    job_id = http.post("/v2/rerank", json={"query": "whose?", "documents": ["d"]}).json()["id"]
    assert http.get(f"/v1/jobs/{job_id}").json()["status"] == "succeeded"
    other = {"Authorization": "Bearer a-key-of-another"}
    assert httpx.get(f"{system.url}/v1/jobs/{job_id}", headers=other).status_code == 404


def test_an_instruction_by_any_name_changes_the_scores(http: httpx.Client) -> None:
    plain = scores(http, MAJORITY, DOCUMENTS)
    told = {
        name: scores(http, call, DOCUMENTS, **{name: "Find recipes for bread"})
        for name, call in (("instruction", MAJORITY), ("instruct", TEI), ("prompt", SCORE))
    }
    assert told["instruction"] != pytest.approx(plain, abs=1e-4)
    assert told["instruct"] == pytest.approx(told["instruction"], abs=1e-4)
    assert told["prompt"] == pytest.approx(told["instruction"], abs=1e-4)


def test_pairs_with_queries_of_their_own(http: httpx.Client) -> None:
    queries = [QUERY, "how is bread made?", QUERY]
    texts = [DOCUMENTS[1], DOCUMENTS[0], DOCUMENTS[0]]
    answer = http.post("/v1/score", json={"text_1": queries, "text_2": texts})
    alone = [
        http.post("/score", json={"queries": query, "documents": text}).json()["data"][0]["score"]
        for query, text in zip(queries, texts, strict=True)
    ]
    assert SCORE.rows(answer) == [(n, pytest.approx(s, abs=1e-4)) for n, s in enumerate(alone)]
    assert answer.json()["usage"]["total_tokens"] > 0


def test_log_odds_are_what_probabilities_are_made_of(http: httpx.Client) -> None:
    raw = scores(http, TEI, DOCUMENTS, raw_scores=True)
    assert min(raw.values()) < 0
    for call in (MAJORITY, SCORE):
        assert scores(http, call, DOCUMENTS, use_activation=False) == pytest.approx(raw, abs=1e-3)


def test_a_document_is_cut_where_it_is_asked_for(http: httpx.Client) -> None:
    body = {"query": QUERY, "documents": ["ss lists the ports and who uses them", DOCUMENTS[0]]}
    whole = http.post("/v2/rerank", json=body | {"max_tokens_per_doc": 4_096}).json()
    assert whole["results"] == http.post("/v2/rerank", json=body).json()["results"]
    cut = http.post("/v2/rerank", json=body | {"max_tokens_per_doc": 2}).json()
    assert [result["truncated"] for result in cut["results"]] == [True, True]
    assert cut["meta"]["truncated"] == 2
    assert cut["usage"]["total_tokens"] < whole["usage"]["total_tokens"]


@pytest.mark.parametrize(
    ("call", "field"), [(TEI, "truncate"), (MAJORITY, "truncation"), (CALLS[-1], "truncation")]
)
def test_who_forbids_it_gets_no_ranking_of_cut_texts(
    http: httpx.Client, call: Call, field: str
) -> None:
    body = call.body(QUERY, [LONG, "short"])
    assert call.rows(http.post(call.path, json=body | {field: True}))
    assert call.rows(http.post(call.path, json=call.body(QUERY, ["short"]) | {field: False}))
    status = dict(call.statuses).get(422, 422)
    refused(http.post(call.path, json=body | {field: False}), call, status, f"{field}: 1 of the")


def test_what_the_caller_has_cut_is_said_by_both_fields(http: httpx.Client) -> None:
    body = MAJORITY.body(QUERY, DOCUMENTS) | {"truncation": False, "max_tokens_per_doc": 2}
    answer = http.post(MAJORITY.path, json=body)
    refused(
        answer, MAJORITY, 422, "truncation: 4 of the documents do not fit max_tokens_per_doc: 2"
    )
    assert (answer.json()["field"], answer.json()["limit"]) == ("truncation", 2)
    assert http.post(MAJORITY.path, json=body | {"max_tokens_per_doc": 50}).is_success


def test_the_examples_of_the_document_are_answered(http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    for path in {call.path for call in CALLS}:
        content = paths[path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            body = {**example["value"], "model": None}
            assert http.post(path, json=body).status_code == 200


@contextmanager
def paused(system: LocalSystem) -> Iterator[Operator]:
    """Interactive jobs wait; none is left afterwards."""
    with Operator(system.url, api_key="a-key-of-search") as operator:
        operator.pause(Lane.INTERACTIVE)
        try:
            yield operator
        finally:
            operator.purge(Lane.INTERACTIVE)
            operator.resume(Lane.INTERACTIVE)


def test_a_full_backlog_is_429_in_each_form(system: LocalSystem, http: httpx.Client) -> None:
    with paused(system):
        for n in range(MAX_BACKLOG - 1):
            assert http.post("/v1/jobs", json={"query": f"{n}", "documents": ["d"]}).is_success
        pairs = {"text_1": ["one fits", "and one does not"], "text_2": ["d", "d"]}
        refused(http.post("/score", json=pairs), CALLS[5], 429)
        assert http.get("/v1/queue").json()["backlog"] == MAX_BACKLOG - 1, "all of it or nothing"
        assert http.post("/v1/jobs", json={"query": "the last", "documents": ["d"]}).is_success
        for call in CALLS:
            answer = http.post(call.path, json=call.body("too many", ["d"]))
            refused(answer, call, 429, f"the limit is {MAX_BACKLOG}")
            assert int(answer.headers["Retry-After"]) >= 1


def test_what_is_cancelled_meanwhile_is_503_in_each_form(
    system: LocalSystem, http: httpx.Client
) -> None:
    def withdrawn(call: Call) -> httpx.Response:
        return http.post(call.path, json=call.body(f"withdrawn {call.path} {call.names}", ["d"]))

    with paused(system) as operator, ThreadPoolExecutor(len(CALLS)) as pool:
        answers = [pool.submit(withdrawn, call) for call in CALLS]
        eventually(lambda: operator.queue().backlog == len(CALLS), 2)
        operator.cancel(next(operator.jobs(JobStatus.QUEUED)).id)
        operator.purge(Lane.INTERACTIVE)
        for call, answer in zip(CALLS, answers, strict=True):
            refused(answer.result(), call, 503, "cancelled by its caller or by an operator")
            assert answer.result().json()["code"] == "cancelled"
            assert int(answer.result().headers["Retry-After"]) >= 1


def test_no_ranking_in_time_is_503_in_each_form(system: LocalSystem, http: httpx.Client) -> None:
    def late(call: Call) -> httpx.Response:
        return http.post(call.path, json=call.body(f"{call.path} {call.names}", ["d"]))

    with paused(system), ThreadPoolExecutor(len(CALLS)) as pool:
        for call, answer in zip(CALLS, pool.map(late, CALLS), strict=True):
            refused(answer, call, 503, f"within {SYNC_TIMEOUT_S:g} s")
            assert int(answer.headers["Retry-After"]) >= 1
        eventually(lambda: http.get("/v1/queue").json()["backlog"] == 0, 5)
