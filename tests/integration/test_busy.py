"""What autoscalers read of the devices: a set with a member for each tenth that one works."""

from __future__ import annotations

import time
from unittest.mock import MagicMock

from rerankq.ledger import keys
from rerankq.ledger.keys import Key, name
from rerankq.ledger.records import WorkerInfo
from tests.conftest import eventually
from tests.integration.bench import STRIKES, Bench
from worker.holdings import Holdings
from worker.keeper import Keeper
from worker.room import Room

TOLD = {"state": "ready", "model": "m", "revision": "r", "template": "t", "score_space": "logit"}
DEVICE = {"instruction": False, "max_length": 512, "dtype": "float32", "device": "cpu"}


def info(worker: str) -> WorkerInfo:
    return WorkerInfo.model_validate({**TOLD, **DEVICE, "attention": "packed", "id": worker})


def busy(bench: Bench) -> int:
    return int(bench.redis.zcard(name(Key.BUSY)))  # type: ignore[arg-type]


def test_the_set_is_as_large_as_what_all_devices_do(bench: Bench) -> None:
    for share, tenths in ((0.72, 7), (1.0, 10), (0.31, 3), (0.04, 0), (0.06, 1)):
        bench.ledger.heartbeat(info("a"), share)
        assert busy(bench) == tenths
    bench.ledger.heartbeat(info("a:1"), 0.5)
    bench.ledger.heartbeat(info("a"), 0.2)
    assert busy(bench) == 7


def test_a_worker_that_leaves_is_out_at_once(bench: Bench) -> None:
    bench.ledger.heartbeat(info("a"), 0.7)
    bench.ledger.heartbeat(info("b"), 0.2)
    bench.ledger.forget_worker("a")
    assert busy(bench) == 2


def test_a_silent_worker_is_out_once_it_does_not_count_as_ready(bench: Bench) -> None:
    bench.ledger.heartbeat(info("dead"), 0.5)
    now, _ = bench.ledger.heartbeat(info("alive"), 0.3)
    dead = keys.tenths("dead")[:5]
    bench.redis.zadd(name(Key.BUSY), dict.fromkeys(dead, now - keys.WORKER_SEEN_MS + 5_000))
    bench.reap()
    assert busy(bench) == 8
    bench.redis.zadd(name(Key.BUSY), dict.fromkeys(dead, now - keys.WORKER_SEEN_MS - 1))
    bench.reap()
    assert busy(bench) == 3


def test_after_a_long_sleep_nobody_is_out_before_it_could_speak(bench: Bench) -> None:
    now, _ = bench.ledger.heartbeat(info("a"), 0.4)
    late = dict.fromkeys(keys.tenths("a")[:4], now - keys.WORKER_SEEN_MS - 5_000)
    bench.redis.zadd(name(Key.BUSY), late)
    bench.redis.set(name(Key.TICK), now - keys.TICK_STALE_MS - 2_000)
    bench.reap()
    assert busy(bench) == 4


class IdleHalfOfTheTime(MagicMock):
    current = None
    tokens_per_s = 0.0
    since = time.monotonic()

    @property
    def busy_s(self) -> float:
        return (time.monotonic() - self.since) / 2


def test_a_worker_says_it_by_itself(bench: Bench) -> None:
    engine = MagicMock(**{"memory.return_value": {}})
    holdings = Holdings(Room(100, reserve=0))
    coalescer = MagicMock(device=IdleHalfOfTheTime(since=time.monotonic()))
    keeper = Keeper(
        *(bench.ledger, engine, coalescer, holdings, info("a")),
        lease_ms=1_000,
        max_strikes=STRIKES,
        drop=MagicMock(),
        renew_deliveries=MagicMock(__name__="renew"),
    )
    keeper.start()
    try:
        eventually(lambda: busy(bench) == 5, 5)
    finally:
        keeper.stop()
