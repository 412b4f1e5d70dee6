"""The transport of public tasks on a worker's own loop, on a real Redis."""

from __future__ import annotations

from typing import Any

import kombu
import redis
from kombu.asynchronous import Hub

from rerankq.ledger.keys import QUEUE_BULK
from tests.conftest import eventually
from worker.transport import Transport


def test_a_question_closed_while_there_is_no_room_disturbs_nobody(
    empty_redis: redis.Redis, redis_url: str
) -> None:
    """Redis closes what is idle (`timeout`), and a full worker asks nothing for hours."""
    queue, delivered = kombu.Queue(QUEUE_BULK), list[Any]()
    hub, broker = Hub(), kombu.Connection(redis_url, transport=Transport)
    broker.transport.register_with_event_loop(broker.connection, hub)
    loop = hub.create_loop()

    def until(condition: Any) -> None:
        hub.call_repeatedly(0.05, lambda: None)  # or the loop would sleep through it

        def turned() -> Any:
            next(loop)
            return condition()

        eventually(turned)

    channel = broker.channel()
    consumer = kombu.Consumer(channel, [queue], callbacks=[lambda _, m: delivered.append(m)])
    consumer.qos(prefetch_count=1)
    with kombu.Connection(redis_url) as other, broker, consumer:
        for number in range(2):
            other.Producer().publish(number, routing_key=QUEUE_BULK, declare=[queue])
        until(lambda: delivered)
        ours = [
            c["id"] for c in empty_redis.client_list() if c["cmd"] == "blmove" and c["flags"] == "N"
        ]
        assert len(ours) == 1
        empty_redis.client_kill_filter(_id=ours[0])
        before = len(hub.readers)
        until(lambda: len(hub.readers) < before)
        delivered[0].ack()
        until(lambda: len(delivered) == 2)
        delivered[1].ack()
    hub.close()
