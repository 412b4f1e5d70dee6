"""Traces: off by default, from the caller to the batch where they are asked for."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
import redis
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, format_trace_id

from api.app import create_app
from rerankq import tracing
from rerankq.ledger import keys
from rerankq.ledger.calls import Taken
from rerankq.ledgered import job_of, ledger_at
from rerankq.settings import Settings
from rerankq.status import Lane
from rerankq.tasks import make_task
from tests.conftest import ROOT, close_app, eventually
from tests.integration.test_score_cache import CountingEngine, running
from worker import traces
from worker.engine.interface import Pair, PairFailed
from worker.work import Item, Work

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "provider", provider)
    yield exporter
    provider.shutdown()


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


async def submitted(settings: Settings, exporter: InMemorySpanExporter) -> dict[str, Any]:
    """A job as it is in the end, by an API in this process; it is polled once, too."""
    app, headers = create_app(settings), {"x-request-id": "ours", "Prefer": "wait=20"}
    transport = httpx.ASGITransport(app=app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as http,
    ):
        body = {"query": "secret", "documents": ["1", "2"]}
        traced = headers | {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        answer = await http.post("/v1/jobs", json=body, headers=traced)
        polled = await http.get(answer.headers["Location"])
        await asyncio.to_thread(eventually, lambda: len(exporter.get_finished_spans()) >= 5)
    job: dict[str, Any] = polled.json()
    return job


def test_a_caller_s_trace_goes_on_to_the_batch(
    redis_url: str, empty_redis: redis.Redis, exporter: InMemorySpanExporter
) -> None:
    with running(CountingEngine(), redis_url, 0):
        job = asyncio.run(submitted(Settings(redis_url=redis_url), exporter))
    assert exporter.export([]) is SpanExportResult.FAILURE, "the API's end did not end it"
    assert job["status"] == "succeeded"
    assert len(exporter.get_finished_spans()) == 5, "polls are not traced"
    (served,), (shard,) = named(exporter, "POST /v1/jobs"), named(exporter, "shard")
    (queue,), (score,), (batch,) = (named(exporter, name) for name in ("queue", "score", "batch"))
    assert {format_trace_id(span.context.trace_id) for span in (served, shard, queue, score)} == {
        TRACE
    }
    assert served.kind is SpanKind.SERVER
    assert parent_of(served) == int(CALLER, 16)
    assert parent_of(shard) == served.context.span_id
    assert parent_of(queue) == parent_of(score) == shard.context.span_id
    assert parent_of(batch) is None
    assert [link.context.span_id for link in batch.links] == [shard.context.span_id]
    assert [link.context.span_id for link in score.links] == [batch.context.span_id]
    assert shard.start_time == queue.start_time <= queue.end_time <= score.start_time  # type: ignore[operator]
    assert score.end_time <= shard.end_time  # type: ignore[operator]
    assert shard.attributes is not None
    assert shard.attributes["rerankq.job"] == job["id"]
    assert shard.attributes["rerankq.request_id"] == "ours"
    assert shard.attributes["rerankq.unscored"] == 0
    assert batch.attributes == {"rerankq.pairs": 2, "rerankq.tokens": 8, "rerankq.jobs": 1}
    assert "secret" not in "".join(span.to_json() for span in exporter.get_finished_spans())


def shard(job: str, traceparent: str, *tokens: int) -> Work:
    pairs = [Pair((), (token,)) for token in tokens]
    work = Work(f"{job}:0", job, pairs, 0.0, lambda _: None, log_fields={"request_id": "r"})
    item = Taken(work.entry, Lane.BULK, 0.0, 1, 5_000, b"", b"", traceparent)
    work.traced = traces.taken(item, work)
    return work


def test_a_batch_is_linked_to_every_job_in_it(exporter: InMemorySpanExporter) -> None:
    """Also to one that nobody else traces, but not to one whose caller wants no trace of it."""
    works = [
        shard("job_a", f"00-{TRACE}-{CALLER}-01", 1),
        shard("job_b", "", 2),
        shard("job_c", f"00-{TRACE}-{CALLER}-00", 3),
    ]
    traces.scored([[Item(work, 0)] for work in works], 0.5, 3)
    works[0].put(0, 1.0)
    works[1].fail(PairFailed("scoring_failed", "..."))
    for work in works:
        traces.ended(work)
    shards, (batch,) = named(exporter, "shard"), named(exporter, "batch")
    assert [span.status.is_ok for span in shards] == [True, False]
    assert [format_trace_id(span.context.trace_id) == TRACE for span in shards] == [True, False]
    assert parent_of(shards[1]) is None
    linked = {link.context.span_id for link in batch.links}
    assert linked == {span.context.span_id for span in shards}
    assert {parent_of(span) for span in named(exporter, "score")} == linked
    (first, _) = named(exporter, "queue")
    assert first.end_time - first.start_time == 5_000_000_000  # type: ignore[operator]


def test_a_task_s_job_is_in_the_trace_of_who_sent_it(
    redis_url: str, empty_redis: redis.Redis, exporter: InMemorySpanExporter
) -> None:
    task = make_task(Settings(redis_url=redis_url))
    assert tracing.provider is not None
    with tracing.provider.get_tracer("caller").start_as_current_span("calls") as span:
        sent = task.delay(query="q", documents=["d"])
    told = empty_redis.hget(keys.name(keys.Key.JOB, job_of(sent.id, None)), "traceparent")
    assert told.split(b"-")[1].decode() == format_trace_id(span.get_span_context().trace_id)  # type: ignore[union-attr]
    close_app(task.app)
    ledger_at(redis_url, None).close()


def test_the_client_needs_none_of_it() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None; import rerankq.tasks, worker.traces;"
        "from rerankq import tracing; print(repr(tracing.traceparent()))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "''"
    assert tracing.traceparent() == ""


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*tracing.ASKED_BY, *tracing.SUPPORTED, "OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tracing, "provider", None)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, None),
        ({ENDPOINT: ""}, None),
        ({ENDPOINT: "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, None),
        ({ENDPOINT: "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: only otlp"),
        (
            {ENDPOINT: "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf",
        ),
        ({ENDPOINT: "http://127.0.0.1:9"}, "opentelemetry.sdk.resources is not installed"),
    ],
)
def test_off_unless_it_is_asked_for_and_possible(
    variables: dict[str, str],
    reason: str | None,
    off: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in variables.items():
        off.setenv(name, value)
    off.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with caplog.at_level(logging.INFO):
        tracing.start("rerankq-test")
    assert tracing.provider is None
    assert caplog.messages == ([] if reason is None else ["no traces"])
    if reason is not None:
        assert reason in caplog.records[0].__dict__["reason"]


def test_the_last_spans_are_sent_before_the_end(off: pytest.MonkeyPatch) -> None:
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        off.setenv(ENDPOINT, f"http://127.0.0.1:{server.server_port}")
        tracing.start("rerankq-test")
        traces.ended(shard("job_a", "", 1))
        tracing.stop()
        server.shutdown()
    ((path, body),) = got
    assert path == "/v1/traces"
    assert b"rerankq-test" in body
    assert b"job_a:0" in body


def test_a_collector_that_hangs_does_not_hold_up_the_end(off: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        off.setenv(ENDPOINT, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        off.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        off.setattr(tracing, "LAST_WORDS_S", 0.2)
        tracing.start("rerankq-test")
        traces.ended(shard("job_a", "", 1))
        started = time.monotonic()
        tracing.stop()
        assert time.monotonic() - started < 1
