"""/v1/files by OpenAI's own client: up, listed, down, gone; whose they are; what is refused."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import psutil
import pytest

from rerankq.ledger.keys import Key, name
from tests.conftest import StartSystem, eventually
from tests.integration.openai_callers import KEYS, Service, openai_at, service

__all__ = ["service"]

LINES = b'{"custom_id": "a"}\n{"custom_id": "\xc3\xa9"}\n'
BOUNDARY = "boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(field: str, value: bytes, filename: str | None = None) -> bytes:
    called = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"{called}\r\n\r\n'
    return head.encode() + value + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
FILE = part("file", LINES, "lines.jsonl")
BATCH = part("purpose", b"batch")


def test_a_file_goes_up_comes_down_and_goes(service: Service) -> None:
    made = service.alice.files.create(file=("lines.jsonl", LINES), purpose="batch")
    assert (made.bytes, made.filename, made.purpose) == (len(LINES), "lines.jsonl", "batch")
    assert (made.object, made.status) == ("file", "processed")
    assert made.expires_at == made.created_at + 30 * 86_400
    assert service.alice.files.retrieve(made.id) == made
    content = service.alice.files.content(made.id)
    assert content.read() == LINES
    assert content.response.headers["Content-Length"] == str(len(LINES))
    assert any(path.endswith(made.id) for path in service.stored())
    gone = service.alice.files.delete(made.id)
    assert (gone.id, gone.deleted) == (made.id, True)
    assert not any(path.endswith(made.id) for path in service.stored())
    for call in (
        service.alice.files.retrieve,
        service.alice.files.content,
        service.alice.files.delete,
    ):
        with pytest.raises(openai.NotFoundError):
            call(made.id)


def test_a_file_belongs_to_the_key_that_made_it(service: Service) -> None:
    made = service.alice.files.create(file=("a.jsonl", LINES), purpose="batch")
    for call in (service.bob.files.retrieve, service.bob.files.content, service.bob.files.delete):
        with pytest.raises(openai.NotFoundError) as caught:
            call(made.id)
        assert caught.value.status_code == 404
        assert (caught.value.code, caught.value.param) == ("not_found", "file_id")
        assert made.id in str(caught.value)
    assert made.id not in [file.id for file in service.bob.files.list()]
    assert made.id in [file.id for file in service.alice.files.list()]
    theirs = service.bob.files.create(file=("a.jsonl", LINES), purpose="batch")
    folders = {
        path.split("/")[1] for path in service.stored() if path.endswith((made.id, theirs.id))
    }
    assert len(folders) == 2
    with pytest.raises(openai.NotFoundError):
        service.bob.files.list(after=made.id)


def test_no_key_and_a_wrong_one_are_refused(service: Service) -> None:
    with openai_at(service.system, "nobody's") as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.files.create(file=("a.jsonl", LINES), purpose="batch")
        with pytest.raises(openai.AuthenticationError):
            stranger.files.list()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("/", "upload"),
        ("..", "upload"),
        ("", "upload"),
        ("a\x01b.jsonl", "ab.jsonl"),
        ("é" * 400, "é" * 255),
    ],
)
def test_a_name_is_shown_and_leads_nowhere(service: Service, given: str, kept: str) -> None:
    before = service.stored()
    body = part("file", LINES, given) + BATCH + END
    made = service.http.post("/v1/files", content=body, headers=FORM).raise_for_status().json()
    assert made["filename"] == kept
    (added,) = service.stored() - before
    assert added.startswith("files/")
    assert added.endswith(made["id"])
    answer = service.http.get(f"/v1/files/{made['id']}/content")
    assert answer.content == LINES
    assert answer.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''")


def test_an_empty_file_is_one(service: Service) -> None:
    body = part("file", b"", "empty.jsonl") + BATCH + END
    made = service.http.post("/v1/files", content=body, headers=FORM).raise_for_status().json()
    assert made["bytes"] == 0
    assert service.alice.files.content(made["id"]).read() == b""


def test_the_list_pages_in_both_orders(service: Service) -> None:
    for file in service.bob.files.list():
        service.bob.files.delete(file.id)
    made = [
        service.bob.files.create(file=(f"{n}", LINES), purpose="batch" if n % 2 else "user_data").id
        for n in range(5)
    ]
    first = service.bob.files.list(limit=2, order="asc")
    assert ([file.id for file in first.data], first.has_more) == (made[:2], True)
    assert [file.id for file in service.bob.files.list(limit=2, order="asc")] == made
    assert [file.id for file in service.bob.files.list(limit=2)] == made[::-1]
    of_batch = service.bob.files.list(limit=1, purpose="batch", order="asc")
    assert [file.id for file in of_batch] == [made[1], made[3]]
    last = service.bob.files.list(limit=5)
    assert (len(last.data), last.has_more) == (5, False)
    with pytest.raises(openai.UnprocessableEntityError):
        service.bob.files.list(limit=0)


def test_a_file_is_kept_as_long_as_its_maker_says(service: Service) -> None:
    made = service.alice.files.create(
        file=("a", LINES),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert made.expires_at == made.created_at + 3600
    with pytest.raises(openai.UnprocessableEntityError, match="2592000"):
        service.alice.files.create(
            file=("a", LINES),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 60},
        )


def test_when_its_time_is_over_the_file_is_gone_and_so_are_its_bytes(service: Service) -> None:
    made = service.alice.files.create(file=("a", LINES), purpose="batch")
    service.redis.hset(name(Key.FILE, made.id), "expires", 1)
    with pytest.raises(openai.NotFoundError):
        service.alice.files.retrieve(made.id)
    assert made.id not in [file.id for file in service.alice.files.list()]
    service.redis.zadd(name(Key.FILES_OVER), {made.id: 1})
    eventually(lambda: not any(path.endswith(made.id) for path in service.stored()))
    eventually(lambda: not service.redis.exists(name(Key.FILE, made.id)))
    assert service.redis.zscore(name(Key.FILES_OVER), made.id) is None


@pytest.mark.parametrize(
    ("body", "headers", "status", "field"),
    [
        (FILE + END, FORM, 422, "purpose"),
        (FILE + part("purpose", b"theft") + END, FORM, 422, "purpose"),
        (BATCH + END, FORM, 422, "file"),
        (FILE + FILE + BATCH + END, FORM, 422, "file"),
        (FILE + part("purpose", b"x" * 5000) + END, FORM, 413, "purpose"),
        (FILE + BATCH * 40 + END, FORM, 413, "body"),
        (FILE + BATCH, FORM, 400, "body"),
        (b"no form at all", FORM, 400, "body"),
        (b"", FORM, 400, "body"),
        (FILE + BATCH + END, {"Content-Type": "multipart/form-data"}, 400, "body"),
        (b"{}", {"Content-Type": "application/json"}, 415, "Content-Type"),
        (b"", {}, 415, "Content-Type"),
        (
            FILE + BATCH + part("expires_after[anchor]", b"now") + END,
            FORM,
            422,
            "expires_after[anchor]",
        ),
    ],
)
def test_what_is_no_upload_is_refused_and_leaves_nothing(
    service: Service, body: bytes, headers: dict[str, str], status: int, field: str
) -> None:
    before = service.stored()
    answer = service.http.post("/v1/files", content=body, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    assert service.stored() == before


def request_head(service: Service, length: int) -> bytes:
    lines = [
        "POST /v1/files HTTP/1.1",
        "Host: test",
        f"Authorization: Bearer {KEYS['alice']}",
        f"Content-Type: {FORM['Content-Type']}",
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def test_ten_gibibytes_are_the_limit(service: Service) -> None:
    where = urlsplit(service.system.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as caller:
        caller.sendall(request_head(service, (10 << 30) + 1))
        answer = b""
        while b"}" not in answer:
            answer += caller.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"10737418240" in answer


def test_a_caller_that_leaves_half_way_leaves_nothing(service: Service) -> None:
    before = service.stored()
    where = urlsplit(service.system.url)
    with socket.create_connection((where.hostname, where.port), timeout=10) as caller:
        caller.sendall(request_head(service, 100 << 20) + FILE[:-30] + b"x" * (4 << 20))
        eventually(lambda: service.stored() != before)
    eventually(lambda: service.stored() == before)


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", ""), ("GET", ""), ("GET", "/file-1"), ("GET", "/file-1/content"), ("DELETE", "/x")],
)
def test_without_storage_it_says_which_setting(bare: httpx.Client, method: str, path: str) -> None:
    answer = bare.request(method, f"/v1/files{path}")
    assert answer.status_code == 501
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == "storage_not_configured"
    assert "RERANKQ_STORAGE_URL" in problem["detail"]


@pytest.fixture(scope="module")
def bare(start_system: StartSystem) -> Iterator[httpx.Client]:
    system = start_system(workers=0, storage_url="")
    with httpx.Client(base_url=system.url, timeout=30) as http:
        yield http


def test_a_large_file_takes_no_memory(service: Service) -> None:
    api = service.system.child("api").process
    assert api is not None
    memory = psutil.Process(api.pid).memory_info
    service.alice.files.create(file=("small", LINES), purpose="batch")
    before, size = memory().rss, 256 << 20
    most = before

    def body() -> Iterator[bytes]:
        nonlocal most
        yield BATCH + FILE[: FILE.index(LINES)]
        for _ in range(size >> 20):
            yield bytes(1 << 20)
            most = max(most, memory().rss)
        yield b"\r\n" + END

    answer = service.http.post("/v1/files", content=body(), headers=FORM)
    made = answer.raise_for_status().json()
    assert made["bytes"] == size
    with service.http.stream("GET", f"/v1/files/{made['id']}/content") as content:
        came = 0
        for block in content.iter_bytes():
            came += len(block)
            most = max(most, memory().rss) if came % (1 << 24) < len(block) else most
    assert came == size
    assert most - before < 40 << 20
    service.alice.files.delete(made["id"])
