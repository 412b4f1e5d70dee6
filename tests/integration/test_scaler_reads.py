"""Public tasks while there is no worker: the scaler looks where a real sender puts them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from celery import Celery

from rerankq.ledger.keys import QUEUE_BULK, QUEUE_INTERACTIVE, TASK_RERANK
from tests.conftest import close_app
from tests.scaling import read, wanted


@pytest.fixture
def sender(empty_redis: redis.Redis, redis_url: str) -> Iterator[Celery]:
    app = Celery(broker=redis_url, backend=redis_url)
    yield app
    close_app(app)


@pytest.mark.parametrize("queue", [QUEUE_INTERACTIVE, QUEUE_BULK])
def test_the_first_message_of_any_priority_starts_a_worker(
    queue: str, sender: Celery, empty_redis: redis.Redis
) -> None:
    seen: dict[str, int] = {}
    assert wanted(0, **read(empty_redis)) == 0
    for priority in (None, *range(10)):
        empty_redis.flushdb()
        sender.send_task(TASK_RERANK, args=["q", ["d"]], queue=queue, priority=priority)
        now = read(empty_redis)
        assert list(now.values()) == [1], priority
        assert wanted(0, **now) == 1
        seen |= now
    # A list of its own for each of kombu's steps, and none that the scaler does not name.
    assert len(seen) == 4
