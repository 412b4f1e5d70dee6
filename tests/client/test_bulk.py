"""Both clients' files and batches. Needs nothing but the wheel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rerankq import AsyncClient, Client, ConnectionFailed, NotFound

FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 3,
    "created_at": 1,
    "filename": "in.jsonl",
    "purpose": "batch",
}
PROBLEM = {"title": "t", "status": 404, "code": "not_found", "detail": "no"}


def batch(batch_id: str = "batch_1", **more: Any) -> dict[str, Any]:
    return {
        "id": batch_id,
        "object": "batch",
        "endpoint": "/v1/rerank",
        "model": "m",
        "completion_window": "24h",
        "status": "in_progress",
        "created_at": 1,
        "expires_at": 2,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "progress": {"chunks": 0, "chunks_done": 0, "pairs": 0, "tokens": 0, "truncated": 0},
        "a_field_of_a_later_version": True,
        **more,
    }


class Service:
    """Answers in the given order and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = [*answers]
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        return self._next(request)

    async def later(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return self._next(request)

    def _next(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answers.pop(0)

    def client(self) -> Client:
        return Client("http://x", retry_for=5, transport=httpx.MockTransport(self))

    def async_client(self) -> AsyncClient:
        return AsyncClient("http://x", retry_for=5, transport=httpx.MockTransport(self.later))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"{}\n" * 50_000)
    return path


def test_a_file_is_sent_whole_and_again_after_a_refusal(source: Path) -> None:
    service = Service(httpx.Response(503), httpx.Response(200, json=FILE))
    heard: list[int] = []
    with service.client() as client:
        assert client.upload_file(source, told=heard.append).id == "file-1"
    first, second = (request.content for request in service.asked)
    assert first == second
    assert source.read_bytes() in first
    assert b'name="purpose"\r\n\r\nbatch' in first
    assert service.asked[0].headers["Content-Length"] == str(len(first))
    assert (heard[0], max(heard)) == (65536, 150_000)


def test_a_file_comes_down_whole_or_not_at_all(tmp_path: Path) -> None:
    class Broken(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"half"
            raise httpx.ReadError("cut")

    target = tmp_path / "out.jsonl"
    target.write_text("old")
    service = Service(
        httpx.Response(200, stream=Broken()),
        httpx.Response(404, json=PROBLEM),
        httpx.Response(200, content=b"new"),
    )
    with service.client() as client:
        with pytest.raises(ConnectionFailed, match="file-1 broke off"):
            client.download_file("file-1", target)
        with pytest.raises(NotFound):
            client.download_file("file-1", target)
        assert target.read_text() == "old"
        client.download_file("file-1", target)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.jsonl", "new")]
    assert service.asked[0].url.path == "/v1/files/file-1/content"


def test_batches_are_made_read_listed_and_cancelled() -> None:
    service = Service(
        httpx.Response(200, json=batch()),
        httpx.Response(200, json=batch(status="completed", output_file_id="file-2")),
        httpx.Response(200, json={"data": [batch("b2")], "has_more": True, "last_id": "b2"}),
        httpx.Response(200, json={"data": [batch("b1")], "has_more": False}),
        httpx.Response(200, json=batch(status="cancelling")),
        httpx.Response(200, json=FILE),
        httpx.Response(200, json={"id": "file-1", "object": "file", "deleted": True}),
    )
    with service.client() as client:
        made = client.create_batch(idempotency_key="k", input_file_id="file-1", top_k=3)
        assert made.status == "in_progress"
        assert client.batch(made.id).output_file_id == "file-2"
        assert [one.id for one in client.batches()] == ["b2", "b1"]
        assert client.cancel_batch(made.id).status == "cancelling"
        assert client.file("file-1").bytes == 3
        client.delete_file("file-1")
    assert service.asked[0].headers["Idempotency-Key"] == "k"
    assert json.loads(service.asked[0].content) == {"input_file_id": "file-1", "top_k": 3}
    assert service.asked[3].url.params["after"] == "b2"
    assert [(request.method, request.url.path) for request in service.asked[4:]] == [
        ("POST", "/v1/batches/batch_1/cancel"),
        ("GET", "/v1/files/file-1"),
        ("DELETE", "/v1/files/file-1"),
    ]


def test_the_same_awaited(source: Path, tmp_path: Path) -> None:
    service = Service(
        httpx.Response(503),
        httpx.Response(200, json=FILE),
        httpx.Response(200, json=batch()),
        httpx.Response(200, json=batch(status="completed")),
        httpx.Response(200, json={"data": [batch("b2")], "has_more": True}),
        httpx.Response(200, json={"data": [batch("b1")], "has_more": False}),
        httpx.Response(200, json=batch()),
        httpx.Response(200, json=FILE),
        httpx.Response(200, content=b"new"),
        httpx.Response(200, json={"id": "file-1", "object": "file", "deleted": True}),
    )

    async def main() -> None:
        async with service.async_client() as client:
            assert (await client.upload_file(source)).id == "file-1"
            made = await client.create_batch(input_file_id="file-1")
            assert (await client.batch(made.id)).status == "completed"
            assert [one.id async for one in client.batches()] == ["b2", "b1"]
            await client.cancel_batch(made.id)
            assert (await client.file("file-1")).bytes == 3
            await client.download_file("file-1", tmp_path / "out")
            await client.delete_file("file-1")

    asyncio.run(main())
    assert source.read_bytes() in service.asked[1].content
    assert (tmp_path / "out").read_text() == "new"
