"""The transport of public tasks on a worker's own loop, on a real Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import kombu
import pytest
import redis
from kombu.asynchronous import Hub

from rerankq.ledger.keys import QUEUE_BULK
from tests.conftest import eventually
from worker.deliveries import Deliveries
from worker.transport import Transport


@dataclass
class Desk:
    """A consumer with room for one message, and the loop it lives on."""

    hub: Hub
    loop: Any
    channel: Any
    delivered: list[Any]

    def turn_until(self, condition: Callable[[], Any]) -> None:
        def turned() -> Any:
            next(self.loop)
            return condition()

        eventually(turned)


@pytest.fixture
def messages(empty_redis: redis.Redis, redis_url: str) -> None:
    """Two wait."""
    with kombu.Connection(redis_url) as other:
        for number in range(2):
            other.Producer().publish(
                number, routing_key=QUEUE_BULK, declare=[kombu.Queue(QUEUE_BULK)]
            )


@pytest.fixture
def desk(messages: None, redis_url: str) -> Iterator[Desk]:
    with consuming(redis_url) as desk:
        yield desk


@contextmanager
def consuming(redis_url: str) -> Iterator[Desk]:
    delivered = list[Any]()
    hub, broker = Hub(), kombu.Connection(redis_url, transport=Transport)
    broker.transport.register_with_event_loop(broker.connection, hub)
    hub.call_repeatedly(0.05, lambda: None)  # or a turn could last as long as nothing happens
    callbacks = [lambda _, message: delivered.append(message)]
    channel = broker.channel()
    queue = kombu.Queue(QUEUE_BULK, kombu.Exchange(QUEUE_BULK), routing_key=QUEUE_BULK)
    consumer = kombu.Consumer(channel, [queue], callbacks=callbacks)
    consumer.qos(prefetch_count=1)
    with broker, consumer:
        yield Desk(hub, hub.create_loop(), channel, delivered)
    hub.close()


def test_a_question_closed_while_there_is_no_room_disturbs_nobody(
    empty_redis: redis.Redis, desk: Desk
) -> None:
    """Redis closes what is idle (`timeout`), and a full worker asks nothing for hours."""
    desk.turn_until(lambda: desk.delivered)
    clients = empty_redis.client_list()
    (asks,) = [c["id"] for c in clients if c["cmd"] == "blmove" and c["flags"] == "N"]
    empty_redis.client_kill_filter(_id=asks)
    before = len(desk.hub.readers)
    desk.turn_until(lambda: len(desk.hub.readers) < before)
    desk.delivered[0].ack()
    desk.turn_until(lambda: len(desk.delivered) == 2)


def test_a_worker_starts_on_a_full_redis(
    messages: None, empty_redis: redis.Redis, redis_url: str
) -> None:
    empty_redis.config_set("maxmemory", 1)
    try:
        with consuming(redis_url) as desk:
            desk.turn_until(lambda: desk.delivered)
    finally:
        empty_redis.config_set("maxmemory", "1gb")


def test_what_was_booked_and_is_no_message_blocks_nobody(
    empty_redis: redis.Redis, desk: Desk
) -> None:
    for tag in ("a", "b"):
        empty_redis.hset("unacked", tag, '["\x01", "", ""]')
        empty_redis.zadd("unacked_index", {tag: 1})
    desk.channel.qos.restore_visible(interval=1)
    assert not empty_redis.hkeys("unacked")


def test_what_a_dead_worker_had_booked_goes_to_one_that_lives(
    empty_redis: redis.Redis, desk: Desk
) -> None:
    desk.turn_until(lambda: desk.delivered)
    # The other message, as a worker leaves it that took it and was killed.
    raw = empty_redis.rpop(QUEUE_BULK)
    assert isinstance(raw, bytes)
    empty_redis.hset("unacked", "dead", json.dumps([json.loads(raw), QUEUE_BULK, QUEUE_BULK]))
    empty_redis.zadd("unacked_index", {"dead": 1})
    desk.delivered[0].ack()
    poller = desk.channel.connection.cycle
    for _ in range(desk.channel.unacked_restore_throttle):  # as the loop does, by its timer
        poller.maybe_restore_messages()
    desk.turn_until(lambda: len(desk.delivered) == 2)
    assert [message.payload for message in desk.delivered] == [0, 1]


def test_a_full_redis_takes_an_acknowledgement(empty_redis: redis.Redis, desk: Desk) -> None:
    desk.turn_until(lambda: desk.delivered)
    assert empty_redis.hlen("unacked") == 1
    empty_redis.config_set("maxmemory", 1)
    try:
        desk.delivered[0].ack()
    finally:
        empty_redis.config_set("maxmemory", "1gb")
    assert not empty_redis.exists("unacked", "unacked_index")


def test_a_message_that_is_let_go_is_renewed_no_longer(
    empty_redis: redis.Redis, desk: Desk
) -> None:
    desk.turn_until(lambda: desk.delivered)
    tag = desk.delivered[0].delivery_tag
    deliveries = Deliveries()
    deliveries.follow(SimpleNamespace(task_consumer=SimpleNamespace(channel=desk.channel)))
    empty_redis.zadd("unacked_index", {tag: 1})
    deliveries.renew()
    assert empty_redis.zscore("unacked_index", tag) != 1
    deliveries.let_go(tag)
    empty_redis.zadd("unacked_index", {tag: 1})
    deliveries.renew()
    assert empty_redis.zscore("unacked_index", tag) == 1
