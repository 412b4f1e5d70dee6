"""A public task sent bare, by its name: no death of a worker and no garbage loses it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import redis
from celery import Celery
from celery.result import AsyncResult

from scripts.localsystem import LocalSystem
from tests.conftest import CeleryAt, StartSystem, eventually
from tests.killed_worker import MARK
from tests.scaling import read, wanted

TASK = "rerankq.rerank"
KWARGS = {"query": "which process uses a port?", "documents": ["ss lists ports.", "dough"]}
QUEUES = ("rerankq.interactive", "rerankq.bulk")
BOOK, INDEX = "rerankq.unacked", "rerankq.unacked_index"


def send(app: Celery, queue: str = QUEUES[1], **options: Any) -> AsyncResult:
    return app.send_task(TASK, kwargs=KWARGS, queue=queue, **options)


@pytest.fixture(scope="module")
def app(demo_system: LocalSystem, celery_at: CeleryAt) -> Celery:
    return celery_at(demo_system.redis_url)


def test_the_message_of_a_worker_killed_before_booking_it_comes_back(
    start_system: StartSystem, celery_at: CeleryAt
) -> None:
    system = start_system(worker_module="tests.killed_worker", visibility_timeout="5")
    result = send(celery_at(system.redis_url))
    eventually(lambda: not system.child("worker-1").alive)
    with redis.Redis.from_url(system.redis_url) as broker:
        seen = read(broker)
    seen.pop("busy", None)  # which an API soon takes out
    assert seen == {"unacked": 1}
    assert wanted(0, **seen) == 1
    system.spawn(system.child("worker-1"))
    assert len(result.get(timeout=60)["results"]) == 2
    with redis.Redis.from_url(system.redis_url) as broker:
        assert int(broker.get(MARK) or 0) == 2
        eventually(lambda: not broker.exists(BOOK, INDEX))


def test_garbage_is_dropped_and_the_worker_lives(demo_system: LocalSystem, app: Celery) -> None:
    worker = demo_system.child("worker-1")
    before = worker.process
    whole = {
        "delivery_tag": str(uuid.uuid4()),
        "delivery_info": {"exchange": "", "routing_key": ""},
    }
    with redis.Redis.from_url(demo_system.redis_url) as broker:
        held = set(broker.hkeys(BOOK))  # other tests' delayed tasks
    for garbage in (
        *("{", b"\xff\xfe", "7", "[]", "null", '"text"', "{}", "[" * 2000),
        json.dumps({"properties": None}),
        json.dumps({"properties": {"delivery_tag": 7}}),
        json.dumps({"properties": {"delivery_tag": "no place"}}),
        json.dumps({"properties": whole}),
        json.dumps({"properties": whole, "body": 7}),
        json.dumps({"properties": whole | {"delivery_info": None}, "body": "text"}),
        json.dumps({"properties": whole | {"body_encoding": "base64"}, "body": "?"}),
        json.dumps({"properties": whole | {"body_encoding": "unknown"}, "body": "text"}),
    ):
        with redis.Redis.from_url(demo_system.redis_url) as broker:
            broker.lpush(QUEUES[0], garbage)
    with redis.Redis.from_url(demo_system.redis_url) as broker:
        result = send(app, QUEUES[0])
        assert len(result.get(timeout=30)["results"]) == 2
        eventually(lambda: not broker.exists(*QUEUES))
        eventually(lambda: set(broker.hkeys(BOOK)) <= held)
    assert worker.alive
    assert worker.process is before


@pytest.mark.parametrize("queue", QUEUES)
def test_every_priority_is_served(app: Celery, queue: str) -> None:
    results = [send(app, queue, priority=priority) for priority in (0, 3, 5, 6, 9)]
    for result in results:
        assert len(result.get(timeout=30)["results"]) == 2
