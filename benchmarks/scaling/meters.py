"""What a run used: read before and after, from Redis, the workers and the system."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil
import redis

from scripts.localsystem import LocalSystem

LINE = re.compile(r"^(\w+) (\S+)$", re.MULTILINE)
SCRAPERS = 4  # at a time, so that no worker's reading is held up by all the others


@dataclass(frozen=True, slots=True)
class WorkerRates:
    """What workers did a second, each by its own two readings, together.

    Attributes:
        computed: tokens, as the device's time goes by them.
        device_s: seconds that launches took.
    """

    pairs: float = 0.0
    shards: float = 0.0
    batches: float = 0.0
    computed: float = 0.0
    device_s: float = 0.0
    cpu_s: float = 0.0

    def __add__(self, other: WorkerRates) -> WorkerRates:
        return WorkerRates(
            self.pairs + other.pairs,
            self.shards + other.shards,
            self.batches + other.batches,
            self.computed + other.computed,
            self.device_s + other.device_s,
            self.cpu_s + other.cpu_s,
        )


@dataclass(frozen=True, slots=True)
class Use:
    """Per second, of everything: CPU in cores, what Redis did and moved.

    Attributes:
        scripts: calls of ours; each is a round trip, or a part of one.
        commands: all that Redis carried out, those inside scripts counted too.
        machine: cores busy with anything, also what is not ours.
    """

    workers: WorkerRates
    redis: float
    scripts: float
    commands: float
    bytes_in: float
    bytes_out: float
    apis: float
    load: float
    machine: float


class Meters:
    """Reads them all at once, and again."""

    def __init__(self, system: LocalSystem) -> None:
        self._probes = [child.probe for child in system.children if child.probe]
        self._redis = redis.Redis.from_url(system.redis_url)
        self._apis = [
            psutil.Process(child.process.pid)
            for child in system.children
            if child.process and child.name.startswith("api")
        ]
        self._pool = ThreadPoolExecutor(SCRAPERS)

    def read(self) -> Reading:
        workers = list(self._pool.map(_scrape, self._probes))
        return Reading(
            at=time.monotonic(),
            workers=workers,
            redis=self._redis.info("all"),
            apis=sum(sum(process.cpu_times()[:2]) for process in self._apis),
            load=time.process_time(),
            machine=_busy_s(),
        )

    def close(self) -> None:
        self._redis.close()
        self._pool.shutdown()


@dataclass(frozen=True, slots=True)
class Reading:
    at: float
    workers: Sequence[tuple[float, Mapping[str, float]]]
    redis: Mapping[str, Any]
    apis: float
    load: float
    machine: float


def between(first: Reading, second: Reading) -> Use:
    seconds = second.at - first.at

    def of_redis(*keys: str) -> float:
        return float(sum(second.redis[key] - first.redis[key] for key in keys)) / seconds

    scripts = [
        reading.redis.get("cmdstat_evalsha", {}).get("calls", 0) for reading in (first, second)
    ]
    rates = (_rates(*both) for both in zip(first.workers, second.workers, strict=True))
    return Use(
        workers=sum(rates, WorkerRates()),
        redis=of_redis("used_cpu_user", "used_cpu_sys"),
        scripts=(scripts[1] - scripts[0]) / seconds,
        commands=of_redis("total_commands_processed"),
        bytes_in=of_redis("total_net_input_bytes"),
        bytes_out=of_redis("total_net_output_bytes"),
        apis=(second.apis - first.apis) / seconds,
        load=(second.load - first.load) / seconds,
        machine=(second.machine - first.machine) / seconds,
    )


def _rates(
    first: tuple[float, Mapping[str, float]], second: tuple[float, Mapping[str, float]]
) -> WorkerRates:
    seconds = second[0] - first[0]

    def rate(metric: str) -> float:
        return (second[1][metric] - first[1][metric]) / seconds

    return WorkerRates(
        pairs=rate("rerankq_pairs_scored_total"),
        shards=rate("rerankq_queue_wait_seconds_count"),
        batches=rate("rerankq_forward_seconds_count"),
        computed=rate("rerankq_batch_tokens_sum"),
        device_s=rate("rerankq_forward_seconds_sum"),
        cpu_s=rate("process_cpu_seconds_total"),
    )


def _scrape(probe: str) -> tuple[float, Mapping[str, float]]:
    with urllib.request.urlopen(f"{probe}/metrics", timeout=30) as answer:  # noqa: S310
        text = answer.read().decode()
    return time.monotonic(), {key: float(value) for key, value in LINE.findall(text)}


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)
