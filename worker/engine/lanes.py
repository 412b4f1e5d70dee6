"""A batch over the cores of a CPU: parts of it side by side, or each operation over all cores.

Side by side no operation waits for another core, which matters most where something else wants one;
together, one large matrix product uses the caches better. Which wins is tried at start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import torch

Scored = list[float]


class Lanes:
    """Runs the parts of a batch on so many cores.

    Only one object's `run` may be going on at a time: torch's number of threads is the process's.
    """

    def __init__(self, count: int, cores: int) -> None:
        self.count = count
        self._cores = cores
        # Set in each of its threads, too: what is set elsewhere reaches a thread only when it
        # first computes.
        self._pool = ThreadPoolExecutor(count, "lane", torch.set_num_threads, (1,))

    def __str__(self) -> str:
        return f"{self.count} side by side" if self.count > 1 else "one pass on all cores"

    def run(self, parts: Sequence[Callable[[], Scored]]) -> list[Scored]:
        """Raises: what a part raised, once all have ended."""
        if len(parts) == 1:
            torch.set_num_threads(self._cores)
            return [parts[0]()]
        torch.set_num_threads(1)
        running = [self._pool.submit(part) for part in parts]
        wait(running)
        return [future.result() for future in running]


def possible(device: torch.device, cores: int, *, own_code: bool) -> list[Lanes]:
    """The ways to use so many cores of this device's machine, first the one that bears others'
    load better.

    Args:
        own_code: the model brings code of its own, which may not bear several threads.
    """
    if device.type != "cpu" or cores == 1 or own_code:
        return [Lanes(1, cores)]
    return [Lanes(cores, cores), Lanes(1, cores)]
