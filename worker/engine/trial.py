"""Timing alternatives against each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


def least_times(runs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Least seconds of each, taken in turn.

    The least, because whatever else happens, a first call included, can only make a run longer.
    """
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, mine in zip(runs, seconds, strict=True):
            started = time.perf_counter()
            run()
            mine.append(time.perf_counter() - started)
    return [min(mine) for mine in seconds]


def preferred(costs: Sequence[float], noise: float) -> int:
    """Index of the first that none beats by more than noise: so many times as dear is as good."""
    return next(index for index, cost in enumerate(costs) if cost < noise * min(costs))
