"""The command is told by Redis when its batch ends, and lives with a Redis that cannot tell it."""

from __future__ import annotations

import threading
import time
from queue import Queue

import redis

from rerankq.bulk.command.through_redis import ThroughRedis
from rerankq.ledger import batches
from rerankq.ledger.keys import Key, name
from rerankq.settings import Settings
from scripts.redis_server import free_port
from tests.conftest import eventually

LONG_S = 60.0
BATCH = batches.new_batch_id()


def service(redis_url: str) -> ThroughRedis:
    return ThroughRedis(Settings(redis_url=redis_url), None, retry_for=1.0)


def test_who_waits_is_told_of_its_own_batch_alone(redis_url: str, empty_redis: redis.Redis) -> None:
    answers = Queue[bool]()
    with service(redis_url).listening(BATCH) as wait:
        assert wait(LONG_S), "at once, since it may have ended before"
        waiting = threading.Thread(target=lambda: answers.put(wait(LONG_S)))
        waiting.start()
        assert empty_redis.publish(name(Key.ENDED, f"{BATCH}0"), "succeeded") == 0
        waiting.join(0.3)
        assert waiting.is_alive()
        assert empty_redis.publish(name(Key.ENDED, BATCH), "succeeded") == 1
        assert answers.get(timeout=10)
        waiting.join(10)


def test_without_redis_it_waits_as_long_as_it_was_asked_to() -> None:
    with service(f"redis://127.0.0.1:{free_port()}").listening(BATCH) as wait:
        for _ in range(2):
            began = time.monotonic()
            assert not wait(0.2)
            assert time.monotonic() - began >= 0.2


def test_it_listens_again_after_redis_cut_it_off(redis_url: str, empty_redis: redis.Redis) -> None:
    def listeners() -> int:
        return int(empty_redis.pubsub_numsub(name(Key.ENDED, BATCH))[0][1])  # type: ignore[index]

    with service(redis_url).listening(BATCH) as wait:
        assert wait(LONG_S)
        for connection in empty_redis.client_list(_type="pubsub"):
            empty_redis.client_kill_filter(_id=connection["id"])
        eventually(lambda: listeners() == 0, 10)
        eventually(lambda: wait(0.1) and listeners() == 1, 10)
