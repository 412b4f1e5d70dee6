"""An example for every call, as OpenAPI shows it; a test sends each request."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import Body

from rerankq.schema import Job, Problem

_JOB_ID = "job_019abc0de4f0a1b2c3d4e5f60718293a4b5c6d7e"
_QUERY = "how do I stop a service?"
_DOCUMENTS = ["systemctl stop NAME ends a unit.", "Knead the dough for ten minutes."]

_JOB: dict[str, Any] = {
    "id": _JOB_ID,
    "object": "rerank.job",
    "status": "succeeded",
    "model": {"id": "Qwen/Qwen3-Reranker-0.6B", "revision": "6e9e69830b95"},
    "lane": "interactive",
    "created_at": "2026-01-05T09:30:00Z",
    "started_at": "2026-01-05T09:30:00.004Z",
    "finished_at": "2026-01-05T09:30:00.031Z",
    "expires_at": "2026-01-06T09:30:00Z",
    "retained_until": "2026-01-06T09:30:00.031Z",
    "progress": {"scored": 2, "total": 2},
    "results": [
        {"index": 0, "relevance_score": 0.991},
        {"index": 1, "relevance_score": 0.0004},
    ],
    "error": None,
    "usage": {"total_tokens": 186, "truncated": 0},
    "timing": {"queued_s": 0.004, "scoring_s": 0.027},
    "metadata": None,
}
_QUEUED = _JOB | {
    "status": "queued",
    "started_at": None,
    "finished_at": None,
    "retained_until": None,
    "progress": {"scored": 0, "total": 2},
    "results": None,
    "usage": {"total_tokens": 0, "truncated": 0},
    "timing": {"queued_s": None, "scoring_s": None},
}


def as_json(description: str, example: Any) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


def as_text(description: str, media_type: str, example: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"example": example}}}


JOB_REQUEST = Body(
    openapi_examples={
        "short": {"value": {"query": _QUERY, "documents": _DOCUMENTS}},
        "full": {
            "value": {
                "query": _QUERY,
                "documents": [{"id": "a", "text": _DOCUMENTS[0]}, _DOCUMENTS[1]],
                "instruction": "Given a question, retrieve manual pages that answer it",
                "top_n": 1,
                "return_documents": True,
                "lane": "bulk",
                "expires_in": 3600,
                "metadata": {"run": 7},
            }
        },
    }
)
_REFUSED: dict[int, tuple[str, str]] = {
    400: ("invalid_json", "the body is not JSON: Expecting value"),
    401: ("unauthorized", "a valid API key is needed: Authorization: Bearer KEY"),
    403: ("operator_required", "this key is not among RERANKQ_OPERATORS"),
    404: (
        "not_found",
        "no job 'job_0': it never was, it belongs to another key, or its time is over",
    ),
    408: ("body_too_slow", "body: nothing more of it came for 30 s"),
    409: ("not_succeeded", "job job_0 is running; results exist once it has succeeded"),
    413: ("too_large", "documents: 100001 given; the limit is 100000 a job"),
    415: ("unsupported_media_type", "Content-Type: must be application/json, not text/plain"),
    422: ("invalid_request", "query: must not be blank"),
    424: ("internal", "an error of ours; the log has it by the request's id"),
    429: ("backlog_full", "the bulk lane holds 100000 shards; the limit is 100000"),
    501: (
        "storage_not_configured",
        "this service stores no files: RERANKQ_STORAGE_URL is not set",
    ),
    503: ("queue_unavailable", "the queue's Redis does not answer; try again"),
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds until another try may succeed.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}


def _refusal(status: int) -> dict[str, Any]:
    code, detail = _REFUSED[status]
    # By hand and not by `model`, which would describe it as application/json.
    content = {
        "schema": {"$ref": f"#/components/schemas/{Problem.__name__}"},
        "example": {
            "type": "about:blank",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "code": code,
            "detail": detail,
        },
    }
    headers = _RETRY_AFTER if status in (429, 503) else {}
    return {
        "description": code,
        "headers": headers,
        "content": {"application/problem+json": content},
    }


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a call may be refused with, as OpenAPI's `responses`."""
    return {status: _refusal(status) for status in statuses}


REFUSALS = refusals(401, 422, 503)  # of every call that touches jobs
OPERATORS_REFUSALS = refusals(401, 403, 422, 503)
_OF_A_JOB = refusals(404)
OF_A_BODY = refusals(400, 404, 408, 413, 415, 429)

SUBMITTED = OF_A_BODY | {
    202: as_json("Durable; not finished yet, or not waited for.", _QUEUED),
    200: as_json("Finished within `Prefer: wait`.", _JOB) | {"model": Job},
}
JOB = _OF_A_JOB | {200: as_json("The job.", _JOB)}
RETRIED = refusals(404, 409, 429) | {202: as_json("The new job.", _QUEUED)}
JOB_LIST: dict[int | str, dict[str, Any]] = {
    200: as_json(
        "A page.", {"object": "list", "data": [_JOB | {"results": None}], "next_cursor": None}
    )
}
NDJSON = refusals(404, 409) | {
    200: as_text(
        "One result a line, best first.",
        "application/x-ndjson",
        '{"index":0,"relevance_score":0.991}\n{"index":1,"relevance_score":0.0004}\n',
    )
}
QUEUE = refusals(401, 503) | {
    200: as_json(
        "The queue.",
        {
            "lanes": {
                "interactive": {"waiting": 3, "in_flight": 2, "oldest_s": 0.4, "paused": False},
                "bulk": {"waiting": 0, "in_flight": 0, "oldest_s": None, "paused": True},
            },
            "chunks": {"waiting": 40, "in_flight": 4, "oldest_s": 12.5},
            "batches": [
                {
                    "id": "batch_019b8d3c4f6e0a1b2c3d4e5f60718293",
                    "status": "in_progress",
                    "chunks": 48,
                    "chunks_done": 4,
                    "share": 1.0,
                }
            ],
            "backlog": 49,
            "backlog_tokens": 706560,
            "drain_s": 1.9,
            "workers": 1,
        },
    )
}
_LANE = {"waiting": 3, "in_flight": 2, "oldest_s": 0.4, "paused": True}
LANE: dict[int | str, dict[str, Any]] = {200: as_json("The lane.", _LANE)}
PURGED: dict[int | str, dict[str, Any]] = {
    200: as_json("What was cancelled.", {"lane": "bulk", "cancelled": 212})
}
_WORKER = {
    "id": "worker_5f0c7a6e7d5b5c1e9a530d8f4f3a2b10",
    "state": "ready",
    "host": "rerankq-worker-7d4b9",
    "pid": 1,
    "model": "Qwen/Qwen3-Reranker-0.6B",
    "revision": "6e9e69830b95",
    "dtype": "bfloat16",
    "device": "cuda:0",
    "tokens_per_s": 61_000.0,
}
WORKERS: dict[int | str, dict[str, Any]] = {
    200: as_json("Who is alive.", {"object": "list", "data": [_WORKER]})
}
DRAINING = refusals(404) | {202: as_json("It was asked to.", _WORKER)}
MODELS = refusals(401, 503) | {
    200: as_json(
        "The served models.",
        {
            "object": "list",
            "data": [
                {
                    "id": "Qwen/Qwen3-Reranker-0.6B",
                    "object": "model",
                    "revision": "6e9e69830b95",
                    "template": "qwen3-reranker",
                    "score_space": "log-odds of yes over no",
                    "instruction": True,
                    "max_length": 8192,
                    "dtype": "bfloat16",
                    "device": "cuda:0",
                    "attention": "packed",
                    "engine": "packed; last layer trimmed",
                    "workers": 2,
                }
            ],
        },
    )
}
TEXT_OK: dict[int | str, dict[str, Any]] = {200: as_text("Yes.", "text/plain", "ok\n")}
READY = TEXT_OK | refusals(503)
METRICS: dict[int | str, dict[str, Any]] = {
    200: as_text("Prometheus text.", "text/plain", "rerankq_backlog_tokens 61440\n")
}
HEALTH: dict[int | str, dict[str, Any]] = {
    200: as_json(
        "Status `ok`, `no workers` or `down`.",
        {
            "status": "ok",
            "redis": True,
            "model": "Qwen/Qwen3-Reranker-0.6B",
            "model_loaded": True,
            "gpu_available": True,
            "workers": 2,
            "version": "0.1.0",
        },
    )
}
ROOT: dict[int | str, dict[str, Any]] = {
    200: as_json(
        "Where to go.",
        {"name": "rerankq", "version": "0.1.0", "endpoints": {"submit": "POST /v1/jobs"}},
    )
}
