"""What the processes of a system hold in memory, seen every few seconds."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psutil
import redis

from scripts.localsystem import LocalSystem

MB = 1e6


@dataclass
class Series:
    """Bytes held, by seconds since the start."""

    seconds: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)

    def quarter(self, number: int) -> float:
        """The median of a quarter of the time, 1 to 4, in MB."""
        size = len(self.held) / 4
        return statistics.median(self.held[int((number - 1) * size) : int(number * size)]) / MB

    @property
    def growth(self) -> float:
        """MB, from the second quarter to the last."""
        return self.quarter(4) - self.quarter(2)

    @property
    def slope(self) -> float:
        """MB an hour after the first quarter: the median of all pairs' slopes (Theil and Sen)."""
        first = len(self.held) // 4
        points = list(zip(self.seconds[first:], self.held[first:], strict=True))
        slopes = [
            (y2 - y1) / (x2 - x1)
            for i, (x1, y1) in enumerate(points)
            for x2, y2 in points[i + 1 :]
            if x2 > x1
        ]
        return statistics.median(slopes) * 3600 / MB


class Memory:
    """Looks at every process of the system, and into Redis, until stopped.

    Of the API and the workers it is the resident set with that of their children; of Redis
    `used_memory`, since its resident set also has what its allocator keeps for later.
    """

    def __init__(self, system: LocalSystem, every_s: float) -> None:
        self._processes = {
            child.name: psutil.Process(child.process.pid)
            for child in system.children
            if child.process and child.name != "redis"
        }
        self._redis: Any = redis.Redis.from_url(system.redis_url)
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.series = {name: Series() for name in (*self._processes, "redis")}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self._redis.close()

    def _look(self) -> None:
        started = time.monotonic()
        while not self._over.wait(self._every_s):
            now = time.monotonic() - started
            for name, process in self._processes.items():
                self._note(name, now, _resident(process))
            self._note("redis", now, int(self._redis.info("memory")["used_memory"]))

    def _note(self, name: str, now: float, held: float) -> None:
        self.series[name].seconds.append(now)
        self.series[name].held.append(held)


def _resident(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    return float(sum(member.memory_info().rss for member in family))
