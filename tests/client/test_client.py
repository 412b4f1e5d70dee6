"""Both clients against a real HTTP server that answers by script. Needs nothing but the wheel."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from rerankq import (
    AsyncClient,
    Client,
    ConnectionFailed,
    Document,
    InvalidRequest,
    Job,
    JobFailed,
    JobNotFinished,
    JobStatus,
    NotFound,
    Result,
    SettingsError,
)

PROBLEM = {"title": "t", "status": 422, "code": "invalid_request", "detail": "no", "field": "query"}


def job(status: str = "succeeded", **more: Any) -> dict[str, Any]:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
    return {
        "id": "job_1",
        "object": "rerank.job",
        "status": status,
        "model": {"id": "m", "revision": None},
        "lane": "bulk",
        "created_at": "2026-01-01T00:00:00Z",
        "expires_at": "2026-01-02T00:00:00Z",
        "progress": {"scored": 0, "total": 2},
        "results": results if status == "succeeded" else None,
        "usage": {"total_tokens": 3, "truncated": 0},
        "timing": {},
        "a_field_of_a_later_version": True,
        **more,
    }


@dataclass
class Service:
    """Answers in the given order and remembers what it was asked."""

    answers: list[tuple[int, Any, dict[str, str]]] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def will(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append((status, body, headers))


@pytest.fixture
def service() -> Iterator[Service]:
    script = Service()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            script.asked.append((self.command, self.path, dict(self.headers), body))
            status, content, headers = script.answers.pop(0)
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield script
    server.shutdown()
    server.server_close()
    thread.join()


Call = Callable[..., Any]


@pytest.fixture(params=["blocking", "asynchronous"])
def call(request: pytest.FixtureRequest, service: Service) -> Call:
    """`call("submit", ...)` on either client."""
    if request.param == "blocking":

        def run(method: str, *args: Any, **kwargs: Any) -> Any:
            with Client(service.url, api_key="secret", retry_for=5) as client:
                result = getattr(client, method)(*args, **kwargs)
                return list(result) if isinstance(result, Iterator) else result

        return run

    def run_async(method: str, *args: Any, **kwargs: Any) -> Any:
        async def body() -> Any:
            async with AsyncClient(service.url, api_key="secret", retry_for=5) as client:
                result = getattr(client, method)(*args, **kwargs)
                return await result if isinstance(result, Awaitable) else [r async for r in result]

        return asyncio.run(body())

    return run_async


def test_submit_sends_the_job_and_is_safe_to_repeat(service: Service, call: Call) -> None:
    service.will(503, PROBLEM, Retry_After="0")
    service.will(429, PROBLEM, Retry_After="0")
    service.will(202, job("queued"))
    submitted = call("submit", "q", ["a", Document(text="b", id="B")], lane="bulk", top_n=1)
    assert isinstance(submitted, Job)
    assert submitted.status is JobStatus.QUEUED
    assert len(service.asked) == 3
    method, path, headers, body = service.asked[0]
    assert (method, path) == ("POST", "/v1/jobs")
    assert headers["Authorization"] == "Bearer secret"
    assert json.loads(body) == {
        "query": "q",
        "documents": ["a", {"text": "b", "id": "B"}],
        "lane": "bulk",
        "top_n": 1,
    }
    keys = {headers["Idempotency-Key"] for _, _, headers, _ in service.asked}
    assert len(keys) == 1
    assert len(keys.pop()) > 20


def test_the_callers_own_idempotency_key_is_used(service: Service, call: Call) -> None:
    service.will(202, job("queued"))
    call("submit", "q", ["a"], idempotency_key="mine")
    assert service.asked[0][2]["Idempotency-Key"] == "mine"


def test_rerank_waits_for_the_ranking(service: Service, call: Call) -> None:
    service.will(202, job("queued"))
    service.will(200, job("running"))
    service.will(200, job("succeeded"))
    ranking = call("rerank", "q", ["a", "b"])
    assert [result.index for result in ranking] == [1, 0]
    assert "wait=30.000" in service.asked[1][1]


def test_a_wait_that_ends_first_gives_the_job(service: Service, call: Call) -> None:
    service.will(200, job("running"))
    with pytest.raises(JobNotFinished) as caught:
        call("wait", "job_1", 0)
    assert caught.value.job.id == "job_1"


def test_a_failed_job_is_an_error_with_its_reason(service: Service, call: Call) -> None:
    service.will(202, job("queued"))
    service.will(200, job("failed", error=PROBLEM | {"code": "query_too_long", "limit": 5}))
    with pytest.raises(JobFailed, match="no") as caught:
        call("rerank", "q", ["a"])
    assert caught.value.job.error is not None
    assert caught.value.job.error.limit == 5


def test_refusals_are_raised_at_once(service: Service, call: Call) -> None:
    service.will(422, PROBLEM)
    with pytest.raises(InvalidRequest) as caught:
        call("submit", "", ["a"])
    assert caught.value.problem.field == "query"
    service.will(404, PROBLEM | {"status": 404, "code": "not_found"})
    with pytest.raises(NotFound):
        call("cancel", "job_2")
    assert len(service.asked) == 2


def test_results_are_streamed(service: Service, call: Call) -> None:
    lines = "".join(json.dumps({"index": n, "relevance_score": 0.5}) + "\n" for n in range(500))
    service.will(200, lines)
    results = call("results", "job_1")
    assert [result.index for result in results] == list(range(500))
    assert isinstance(results[0], Result)
    service.will(409, PROBLEM | {"status": 409, "code": "not_succeeded"})
    with pytest.raises(Exception, match="not_succeeded"):
        call("results", "job_1")


def test_jobs_follows_the_cursor(service: Service, call: Call) -> None:
    service.will(200, {"object": "list", "data": [job(), job()], "next_cursor": "7:job_1"})
    service.will(200, {"object": "list", "data": [job()], "next_cursor": None})
    assert len(call("jobs", JobStatus.SUCCEEDED)) == 3
    assert "status=succeeded" in service.asked[0][1]
    assert "cursor=7%3Ajob_1" in service.asked[1][1]


def test_get_and_cancel_and_queue(service: Service, call: Call) -> None:
    service.will(200, job("running"))
    assert call("get", "job_1", wait=2, partial=True).status is JobStatus.RUNNING
    assert service.asked[0][1] == "/v1/jobs/job_1?wait=2.000&partial=true"
    service.will(200, job("cancelled"))
    assert call("cancel", "job_1").status is JobStatus.CANCELLED
    assert service.asked[1][0] == "DELETE"
    service.will(200, {"lanes": {}, "backlog": 2, "backlog_tokens": 5, "workers": 1})
    assert call("queue").backlog == 2


def test_nobody_there_is_an_error_of_ours() -> None:
    with Client("http://127.0.0.1:9", retry_for=0) as client, pytest.raises(ConnectionFailed):
        client.queue()


def test_the_environment_says_where(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKQ_URL", service.url + "/")
    monkeypatch.setenv("RERANKQ_API_KEY", "from-the-environment")
    service.will(200, {"lanes": {}, "backlog": 0, "backlog_tokens": 0, "workers": 0})
    with Client() as client:
        client.queue()
    assert service.asked[0][2]["Authorization"] == "Bearer from-the-environment"


@pytest.mark.parametrize("key", ["schlüssel", "key\n", "\udcff"])
def test_a_key_that_no_header_can_carry_is_refused(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="printable ASCII") as caught:
        Client(api_key=key)
    assert key not in str(caught.value)
    monkeypatch.setenv("RERANKQ_API_KEY", key)
    with pytest.raises(SettingsError, match="RERANKQ_API_KEY"):
        AsyncClient()
