"""Webhooks to a real receiver: signed, tried again, kept over a restart, never sent inwards."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import redis
from standardwebhooks import Webhook

from rerankq import Client
from scripts.localsystem import LocalSystem
from tests.conftest import StartSystem, eventually

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRIVATE = {"webhook_secret": SECRET, "webhook_allow_private": "true"}


class Receiver:
    """Answers with the statuses it was told, then with 204; keeps what it was sent."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def system(start_system: StartSystem) -> LocalSystem:
    return start_system(**PRIVATE)


@pytest.fixture
def ledger(system: LocalSystem) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(system.redis_url) as ledger:
        yield ledger


def soon(ledger: redis.Redis) -> None:
    """As if the time until the next try had passed."""
    for job_id in ledger.zrange("rerankq:outbox:webhook", 0, -1):  # type: ignore[union-attr]
        ledger.zadd("rerankq:outbox:webhook", {job_id: 1}, xx=True)


def test_a_signed_event_arrives_once(
    system: LocalSystem, receiver: Receiver, ledger: redis.Redis
) -> None:
    with Client(system.url) as client:
        job = client.submit("q", ["d", "e"], webhook_url=receiver.url, metadata={"n": 1})
    eventually(lambda: receiver.got)
    headers, body = receiver.got[0]
    Webhook(SECRET).verify(body, headers)
    event = json.loads(body)
    assert event["type"] == "job.succeeded"
    assert event["data"]["id"] == job.id
    assert event["data"]["metadata"] == {"n": 1}
    assert event["data"]["progress"] == {"scored": 2, "total": 2}
    assert headers["webhook-id"] == f"msg_{job.id}"
    eventually(lambda: not ledger.exists("rerankq:outbox:webhook"))
    assert len(receiver.got) == 1


def test_every_end_is_told(system: LocalSystem, receiver: Receiver) -> None:
    with Client(system.url) as client:
        job = client.submit("q", ["d"] * 3000, webhook_url=receiver.url)
        client.cancel(job.id)
        eventually(lambda: len(receiver.got) == 1)
        failed = client.submit("word " * 13_000, ["d"], webhook_url=receiver.url)
        client.wait(failed.id, 30)
        eventually(lambda: len(receiver.got) == 2)
    events = [json.loads(body) for _, body in receiver.got]
    assert [event["type"] for event in events] == ["job.cancelled", "job.failed"]
    assert events[1]["data"]["error"]["code"] == "query_too_long"


@pytest.mark.parametrize("status", [500, 302, 404])
def test_it_is_tried_again_until_it_is_taken(
    status: int, system: LocalSystem, receiver: Receiver, ledger: redis.Redis
) -> None:
    receiver.statuses = [status, status]
    with Client(system.url) as client:
        client.submit("q", ["d"], webhook_url=receiver.url)
    for tries in (1, 2, 3):
        eventually(lambda tries=tries: len(receiver.got) == tries)  # type: ignore[misc]
        if tries < 3:
            eventually(lambda: _waits(ledger))
            soon(ledger)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    eventually(lambda: not ledger.exists("rerankq:outbox:webhook"))


def _waits(ledger: redis.Redis) -> bool:
    """Its next try is put off by seconds, not by the lease of the try that is under way."""
    now = int(ledger.time()[0]) * 1000  # type: ignore[index]
    due: Any = ledger.zrange("rerankq:outbox:webhook", 0, -1, withscores=True)
    return bool(due) and due[0][1] - now <= 30_000


def test_a_receiver_that_is_gone_is_left_alone(
    system: LocalSystem, receiver: Receiver, ledger: redis.Redis
) -> None:
    receiver.statuses = [410]
    with Client(system.url) as client:
        client.submit("q", ["d"], webhook_url=receiver.url)
    eventually(lambda: receiver.got)
    eventually(lambda: not ledger.exists("rerankq:outbox:webhook"))


def test_it_outlives_the_api(start_system: StartSystem, receiver: Receiver) -> None:
    system = start_system(workers=0, supervised=True, **PRIVATE)
    receiver.statuses = [503]
    with Client(system.url) as client, redis.Redis.from_url(system.redis_url) as ledger:
        client.cancel(client.submit("q", ["d"], webhook_url=receiver.url).id)
        eventually(lambda: len(receiver.got) == 1)
        api = system.child("api").process
        assert api is not None
        api.send_signal(signal.SIGKILL)
        api.wait()
        soon(ledger)
        eventually(lambda: len(receiver.got) == 2, 60)


def test_private_addresses_are_not_reached(start_system: StartSystem, receiver: Receiver) -> None:
    system = start_system(workers=0, webhook_secret=SECRET)
    body = {"query": "q", "documents": ["d"], "webhook_url": receiver.url}
    answer = httpx.post(f"{system.url}/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "webhook_url")
    by_name = receiver.url.replace("127.0.0.1", "localhost")
    with Client(system.url) as client, redis.Redis.from_url(system.redis_url) as ledger:
        client.cancel(client.submit("q", ["d"], webhook_url=by_name).id)
        eventually(lambda: not ledger.exists("rerankq:outbox:webhook"))
    log = system.folder / "logs" / "api.log"
    eventually(lambda: "not public" in log.read_text())
    assert receiver.got == []


def test_without_a_secret_a_job_that_wants_one_is_refused(client: Client) -> None:
    body = {"query": "q", "documents": ["d"], "webhook_url": "https://example.org/"}
    answer = httpx.post(f"{client._calls.url}/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "webhooks_disabled")
