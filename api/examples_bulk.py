"""An example for every call on files and batches, as OpenAPI shows it."""

from __future__ import annotations

from typing import Any

from fastapi import Body

from api.examples import as_json, as_text, refusal, refusals


def _page(item: dict[str, Any]) -> dict[str, Any]:
    ends = {"first_id": item["id"], "last_id": item["id"]}
    return {"object": "list", "data": [item], **ends, "has_more": False}


_FILE_ID = "file-9f2b7c1e4d5a60718293a4b5c6d7e8f9"
_FILE = {
    "id": _FILE_ID,
    "object": "file",
    "bytes": 184,
    "created_at": 1767605400,
    "expires_at": 1770197400,
    "filename": "requests.jsonl",
    "purpose": "batch",
    "status": "processed",
    "status_details": None,
}
LINE = (
    '{"custom_id": "q1", "method": "POST", "url": "/v1/rerank", '
    '"body": {"query": "how do I stop a service?", "documents": ["systemctl stop NAME"]}}\n'
)
FILES_REFUSALS = refusals(401, 422, 501, 503)
UPLOADED = refusals(400, 408, 413, 415, 429) | {200: as_json("The file.", _FILE)}
FILE = refusals(404) | {200: as_json("The file.", _FILE)}
FILE_LIST = refusals(404) | {200: as_json("A page.", _page(_FILE))}
FILE_CONTENT = refusals(404) | {200: as_text("The bytes.", "application/octet-stream", LINE)}
FILE_DELETED = refusals(404) | {
    200: as_json("It is gone.", {"id": _FILE_ID, "object": "file", "deleted": True})
}

_BATCH_ID = "batch_019b8d3c4f6e0a1b2c3d4e5f60718293"
_BATCH: dict[str, Any] = {
    "id": _BATCH_ID,
    "object": "batch",
    "endpoint": "/v1/rerank",
    "model": "Qwen/Qwen3-Reranker-0.6B",
    "errors": None,
    "input_file_id": _FILE_ID,
    "completion_window": "24h",
    "status": "in_progress",
    "output_file_id": None,
    "error_file_id": None,
    "created_at": 1767605410,
    "in_progress_at": 1767605411,
    "expires_at": 1767691810,
    "request_counts": {"total": 2000, "completed": 1998, "failed": 2},
    "metadata": None,
    "progress": {
        "chunks": 12,
        "chunks_done": 4,
        "pairs": 40000,
        "tokens": 7_000_000,
        "truncated": 3,
    },
}
BATCH_REQUEST = Body(
    openapi_examples={
        "file": {
            "value": {
                "endpoint": "/v1/rerank",
                "completion_window": "24h",
                "input_file_id": _FILE_ID,
                "metadata": {"run": "7"},
            }
        },
        "urls": {
            "value": {
                "input_uri": "s3://bucket/run/queries.jsonl",
                "input_format": "jsonl",
                "output_uri": "s3://bucket/run/ranked.parquet",
                "output_format": "parquet",
                "top_k": 100,
            }
        },
    }
)
_TAKEN = "output_uri: another batch is still writing there; wait for its end"
BATCH_CREATED = refusals(400, 403, 404, 408, 413, 415, 429, 501) | {
    409: refusal(409, "output_taken", _TAKEN),
    200: as_json("Durable; its input is not read yet.", _BATCH | {"status": "validating"}),
}
BATCH = refusals(404) | {200: as_json("The batch.", _BATCH)}
BATCH_LIST = refusals(404) | {200: as_json("A page.", _page(_BATCH))}
