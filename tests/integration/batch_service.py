"""A stand-in for the API's files and batches, whose every step is the test's own."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_PART = re.compile(rb'name="file"; filename="[^"]*"\r\n(?:[^\r\n]+\r\n)*\r\n(.*?)\r\n--', re.DOTALL)


@dataclass
class BatchService:
    """
    Attributes:
        files: id -> content.
        batches: as OpenAI's objects, oldest first; `asked` are the requests for them.
        refuse: status with which everything is refused; 0: nothing is.
        paths: of all calls.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    refuse: int = 0
    paths: list[str] = field(default_factory=list)
    url: str = ""

    def uploads(self) -> int:
        return self.paths.count("POST /v1/files")

    def end(
        self,
        batch_id: str,
        output: bytes = b"",
        *,
        errors: bytes = b"",
        status: str = "completed",
        **more: Any,
    ) -> None:
        batch = self.batches[batch_id]
        counts = {"total": 5, "completed": 4 if errors else 5, "failed": 1 if errors else 0}
        progress = {"chunks": 1, "chunks_done": 1, "pairs": 10, "tokens": 700, "truncated": 0}
        if output:
            batch["output_file_id"] = self._stored(output)
        if errors:
            batch["error_file_id"] = self._stored(errors)
        batch |= {"request_counts": counts, "progress": progress, f"{status}_at": 102, **more}
        batch["status"] = status

    def _stored(self, content: bytes) -> str:
        file_id = f"file-{len(self.files)}"
        self.files[file_id] = content
        return file_id

    def answer(self, method: str, path: str, key: str | None, body: bytes) -> tuple[int, Any]:
        self.paths.append(f"{method} {path.partition('?')[0]}")
        if self.refuse:
            return self.refuse, problem(self.refuse, "refused")
        match path.partition("?")[0].strip("/").split("/")[1:]:
            case ["files"]:
                found = _PART.search(body)
                assert found is not None
                return 200, file_object(self._stored(found[1]), len(found[1]))
            case ["files", file_id] if file_id in self.files:
                return 200, file_object(file_id, len(self.files[file_id]))
            case ["files", file_id, "content"] if file_id in self.files:
                return 200, self.files[file_id]
            case ["batches"] if method == "POST":
                return self._create(key or "", json.loads(body))
            case ["batches"]:
                newest = [*reversed(self.batches.values())]
                return 200, {"object": "list", "data": newest, "has_more": False}
            case ["batches", batch_id, *cancel] if batch_id in self.batches:
                if cancel:
                    self.end(batch_id, status="cancelled")
                return 200, self.batches[batch_id]
        return 404, problem(404, "not_found")

    def _create(self, key: str, asked: dict[str, Any]) -> tuple[int, Any]:
        known = self.keys.get(key)
        if known is not None and self.asked[known] != asked:
            return 422, problem(422, "idempotency_conflict")
        batch_id = known or f"batch_{len(self.batches)}"
        if known is None:
            self.keys[key], self.asked[batch_id] = batch_id, asked
            self.batches[batch_id] = batch_object(batch_id, asked)
        return 200, self.batches[batch_id]


def problem(status: int, code: str) -> dict[str, Any]:
    return {"title": "t", "status": status, "code": code, "detail": "no"}


def file_object(file_id: str, size: int) -> dict[str, Any]:
    about = {"id": file_id, "object": "file", "bytes": size, "created_at": 1}
    return about | {"filename": "in.jsonl", "purpose": "batch"}


def batch_object(batch_id: str, asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": "/v1/rerank",
        "model": asked.get("model", "m"),
        "input_file_id": asked.get("input_file_id"),
        "output_uri": asked.get("output_uri"),
        "completion_window": asked["completion_window"],
        "status": "in_progress",
        "created_at": 100,
        "expires_at": 200,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": asked.get("metadata"),
        "progress": {"chunks": 0, "chunks_done": 0, "pairs": 0, "tokens": 0, "truncated": 0},
    }


@contextmanager
def running() -> Iterator[BatchService]:
    service = BatchService()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            key = self.headers.get("Idempotency-Key")
            status, content = service.answer(self.command, self.path, key, body)
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield service
        server.shutdown()
