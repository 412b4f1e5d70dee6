"""What several of these tests start from."""

from collections.abc import Iterator

import pytest
import redis

from rerankq.ledger.connection import connect
from rerankq.ledger.store import Ledger
from tests.integration.bench import Bench


@pytest.fixture
def bench(empty_redis: redis.Redis, redis_url: str) -> Iterator[Bench]:
    with connect(redis_url) as client:
        bench = Bench(empty_redis, Ledger(client))
        bench.reap()  # the first one only sets the clock
        yield bench
