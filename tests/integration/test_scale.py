"""The scale-out benchmark's load through a real worker with its simulated device."""

from __future__ import annotations

import redis

from benchmarks.scaling import load
from benchmarks.scaling.device import SimulatedDevice
from rerankq.ledger.codec import ShardOutput
from rerankq.ledger.keys import Key, Part, name
from rerankq.settings import Settings
from tests.conftest import eventually
from worker import metrics
from worker.service import Worker

BUDGET = 4096


def test_every_score_comes_back_and_a_wrong_one_is_found(
    redis_url: str, empty_redis: redis.Redis
) -> None:
    settings = Settings(redis_url=redis_url, token_budget=BUDGET, shard_tokens=BUDGET)
    worker = Worker(settings, SimulatedDevice(BUDGET, batch_s=0.002))
    jobs = load.variants(256, BUDGET)
    feeder = load.Feeder(redis_url, lambda: load.into_ledger(redis_url), jobs, ahead=16)
    before = metrics.PAIRS._value.get()
    worker.start()
    feeder.start()
    try:
        wanted = before + load.CHECKED * len(jobs[0].documents)
        eventually(lambda: metrics.PAIRS._value.get() > wanted, 20)
        feeder.stop()
        assert feeder.wrong() == []
        assert len(feeder.checked) == load.CHECKED
        job_id = feeder.checked[7]
        scores = name(Key.JOB, job_id + Part.OUTPUT)
        output = ShardOutput.decode(empty_redis.hget(scores, "2") or b"")  # type: ignore[arg-type]
        swapped = ShardOutput(output.first, output.log_odds[::-1], (), output.tokens)
        empty_redis.hset(scores, "2", swapped.encode())
        assert feeder.wrong() == [job_id]
    finally:
        feeder.stop()
        worker.drain()
