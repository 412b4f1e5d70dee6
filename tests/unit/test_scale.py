"""The scale-out benchmark: its device keeps its time, its arithmetic is right."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest

from benchmarks.scaling import device, load, meters, report
from benchmarks.scaling.meters import Reading, Use, WorkerRates, between
from rerankq.ledger.codec import ShardInput
from rerankq.ledger.shards import Part
from worker.engine.interface import Pair

BUDGET = 1000


def pairs(count: int, tokens: int) -> list[Pair]:
    shared = (0,) * 100
    return [Pair(shared, (n,) * tokens) for n in range(count)]


def test_a_batch_takes_the_time_of_its_tokens(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(device.time, "sleep", slept.append)
    engine = device.SimulatedDevice(BUDGET, batch_s=0.05)
    for batch in (pairs(9, 100), pairs(4, 100), pairs(1, 150)):
        assert len(engine.prepare(batch)()) == len(batch)
    # What they share counts once: 1,000, 500 and 250 tokens.
    assert slept == pytest.approx([0.05, 0.025, 0.0125])


def test_a_launch_really_waits():
    engine = device.SimulatedDevice(BUDGET, batch_s=0.05)
    launch = engine.prepare(pairs(9, 100))
    started = time.perf_counter()
    launch()
    assert 0.05 <= time.perf_counter() - started < 0.5


def test_documents_of_one_query_share_an_object_and_have_scores_of_their_own():
    engine = device.SimulatedDevice(BUDGET, batch_s=0.0)
    texts = ["abcd" * 5, "bcda" * 6]
    one, again = (engine.encode("q", None, texts) for _ in range(2))
    assert one[0].shared is one[1].shared is again[0].shared
    assert engine.encode("r", None, texts)[0].shared is not one[0].shared
    scores = engine.prepare(one)()
    assert scores == [device.expected(text) for text in texts]
    assert len(set(scores)) == 2


def test_the_load_s_shards_are_full():
    texts = load.variants(document_bytes=1024, shard_tokens=16_384)[0]
    counts = [len(ShardInput.decode(data).documents) for data in texts.shards.parts[Part.INPUT]]
    assert counts == [49] * load.SHARDS_A_JOB
    assert {len(document) for document in texts.documents} == {1024}
    assert len(set(texts.documents)) == len(texts.documents)


def use(*, shards: float, pairs: float, computed: float, cpu: float, redis: float) -> Use:
    workers = WorkerRates(pairs, shards, shards, computed, 0.0, cpu)
    return Use(workers, redis, 0.0, 0.0, 0.0, 0.0, apis=0.1, load=0.1, machine=cpu + redis + 0.5)


IDLE = use(shards=0, pairs=0, computed=0, cpu=0.1, redis=0.02)


def row(workers: int, *, dry: int = 0, **given: float) -> report.Row:
    return report.Row(workers, 1e-6, IDLE, use(**given), dry)


def test_efficiency_is_a_worker_s_rate_against_that_of_one_alone():
    one = row(1, shards=20, pairs=1000, computed=9.9e5, cpu=0.2, redis=0.04)
    four = row(4, shards=72, pairs=3600, computed=3.6e6, cpu=0.82, redis=0.092)
    assert report.efficiency(one, one) == 1
    assert report.efficiency(four, one) == pytest.approx(0.9)
    assert report.efficiency(four, row(2, shards=40, pairs=2000, computed=0, cpu=0, redis=0)) == (
        pytest.approx(0.9)
    )
    assert four.device_busy == pytest.approx(0.9)
    assert four.worker_s == pytest.approx(0.01)  # (0.82 - 0.1) / 72
    assert four.redis_s == pytest.approx(0.001)
    assert report.capacity(four) == pytest.approx(980)  # what idling takes is gone before


def test_what_holds_it_back_is_named():
    busy = {"shards": 20.0, "pairs": 1000.0}
    assert "devices" in report.limit(row(1, **busy, computed=9.9e5, cpu=0.2, redis=0.1), 2)
    assert "Redis" in report.limit(row(2, **busy, computed=9.9e5, cpu=0.2, redis=0.95), 2)
    assert "2 cores" in report.limit(row(2, **busy, computed=9.9e5, cpu=1.4, redis=0.1), 2)
    assert "load" in report.limit(row(2, **busy, computed=9.9e5, cpu=0.2, redis=0.1, dry=3), 2)
    assert "waiting" in report.limit(row(2, **busy, computed=9.9e5, cpu=0.2, redis=0.1), 2)


def reading(at: float, worker_at: float, total: float) -> Reading:
    worker = dict.fromkeys(
        (
            *("rerankq_pairs_scored_total", "rerankq_queue_wait_seconds_count"),
            *("rerankq_forward_seconds_count", "rerankq_forward_seconds_sum"),
            *("rerankq_batch_tokens_sum", "process_cpu_seconds_total"),
        ),
        total,
    )
    redis: Mapping[str, Any] = {
        "used_cpu_user": total,
        "used_cpu_sys": total,
        "total_commands_processed": total,
        "total_net_input_bytes": total,
        "total_net_output_bytes": total,
        "cmdstat_evalsha": {"calls": total},
    }
    return Reading(at, [(worker_at, worker)] * 2, redis, total, total, total)


def test_rates_are_by_each_one_s_own_clock():
    used = between(reading(at=10, worker_at=9, total=100), reading(at=12, worker_at=13, total=120))
    assert used.workers.pairs == 2 * 20 / 4  # two workers, four seconds by their readings
    assert used.redis == 2 * 20 / 2  # user and system
    assert used.scripts == used.commands == used.machine == 10


def test_the_worker_of_the_benchmark_loads_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from benchmarks.scaling.worker import stand_in\n"
        "stand_in(); import worker.__main__"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_scrape_is_read():
    text = '# HELP a b\na_total 3.0\nb_bucket{le="1"} 4.0\nc_sum 1.5e-3\n'
    assert dict(meters.LINE.findall(text)) == {"a_total": "3.0", "c_sum": "1.5e-3"}
