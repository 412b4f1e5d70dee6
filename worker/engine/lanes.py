"""A batch over the cores of a CPU: parts of it side by side, or each operation over all cores.

Side by side no operation waits for another core, which matters most where something else wants one;
together, one large matrix product uses the caches better. Which wins is tried at start. A core that
has ended its part need not wait for the others: the next batch may be started on it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import torch

Scored = list[float]
Part = Callable[[], Scored]

NICENESS = 10  # a thread that computes gives way to those that answer callers and renew leases


class Lanes:
    """So many cores, each scoring a part of a batch, or all of them the same one.

    How many threads torch uses is each thread's own, so the two ways may stand beside each other,
    as they do for a moment when a batch has failed and is scored in halves.
    """

    def __init__(self, count: int, cores: int) -> None:
        self.count = count
        self._cores = cores
        self._pool = ThreadPoolExecutor(count, "lane", _begin)
        # Always the same thread: each one that uses all cores has a team of threads of its own.
        self._all = ThreadPoolExecutor(1, "cores", _begin)

    def __str__(self) -> str:
        return f"{self.count} side by side" if self.count > 1 else "one pass on all cores"

    def start(self, parts: Sequence[Part]) -> list[Future[Scored]]:
        """Each lane takes the next one as soon as it has ended its own."""
        return [self._pool.submit(part) for part in parts]

    def together(self, part: Part) -> Scored:
        """Run it on all cores."""
        return self._all.submit(_on_cores, self._cores, part).result()


class SideBySide:
    """A batch in parts, on its way through the lanes."""

    def __init__(self, lanes: Lanes, parts: Sequence[Part]) -> None:
        self._lanes = lanes
        self._parts = parts
        self._running: list[Future[Scored]] = []

    def start(self) -> Callable[[], list[Scored]]:
        """Returns: what waits for the scores of its parts, and raises what a part raised, once all
        have ended."""
        self._running = self._lanes.start(self._parts)
        return self._scores

    def until_room(self) -> None:
        """Wait until a lane has nothing left to do, if this is the first batch on the lanes."""
        if len(self._running) >= self._lanes.count:
            wait(self._running, return_when=FIRST_COMPLETED)

    def _scores(self) -> list[Scored]:
        running, self._running = self._running, []  # an error's traceback holds a pass's tensors
        wait(running)
        return [future.result() for future in running]


def _begin() -> None:
    # In each thread: what is set elsewhere reaches one only when it first computes.
    torch.set_num_threads(1)
    if sys.platform == "linux":  # elsewhere a priority is a whole process's
        itself = os.PRIO_PROCESS, threading.get_native_id()
        os.setpriority(*itself, max(NICENESS, os.getpriority(*itself)))


def _on_cores(count: int, part: Part) -> Scored:
    torch.set_num_threads(count)
    try:
        return part()
    finally:
        torch.set_num_threads(1)


def possible(device: torch.device, cores: int, *, own_code: bool) -> list[Lanes]:
    """The ways to use so many cores of this device's machine, first the one that bears others'
    load better.

    Args:
        own_code: the model brings code of its own, which may not bear several threads.
    """
    if device.type != "cpu" or cores == 1 or own_code:
        return [Lanes(1, cores)]
    return [Lanes(cores, cores), Lanes(1, cores)]
