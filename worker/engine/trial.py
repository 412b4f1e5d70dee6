"""Timing alternatives against each other."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence


def least_times(
    runs: Sequence[Callable[[], object]],
    rounds: int,
    hopeless: float = math.inf,
    further_s: float = 0.0,
) -> list[float]:
    """Least seconds of each, taken in turn.

    The least, because whatever else happens, a first call included, can only make a run longer.

    Args:
        hopeless: what took so many times as long as another is not run again.
        further_s: as many further rounds follow as fit into it, each by what the last one took.
    """
    least = [math.inf for _ in runs]
    for number in _rounds(rounds, further_s):
        for index, run in enumerate(runs):
            if number and least[index] > hopeless * min(least):
                continue
            started = time.perf_counter()
            run()
            least[index] = min(least[index], time.perf_counter() - started)
    return least


def _rounds(at_least: int, further_s: float) -> Iterator[int]:
    began = time.perf_counter()
    for number in range(at_least):
        began = time.perf_counter()
        yield number
    while 0 < (took := time.perf_counter() - began) <= further_s:
        further_s -= took
        began = time.perf_counter()
        yield at_least


def preferred(costs: Sequence[float], noise: float) -> int:
    """Index of the first that none beats by more than noise: so many times as dear is as good."""
    return next(index for index, cost in enumerate(costs) if cost < noise * min(costs))
