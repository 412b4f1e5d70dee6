"""That a large job costs what its pairs cost: neither time nor memory grows with what went before.

    python -m benchmarks.linear --pairs 100000

One job of so many documents goes through the in-process engine with the demo model, in ten windows
of twenty pieces each. After each piece a small job of its own is scored, always the same one,
because the machine's speed wavers from second to second: a window's rate is divided by that of the
small jobs between its pieces. Bounds; exit status 1 if one is broken:

  time    every window within 10 % of the median of all, in that ratio
  memory  the resident set after the last window at most 5 % above that after the first
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import chain, islice

import psutil

from benchmarks import prose
from benchmarks.engine import SLICE, scored
from benchmarks.shapes import DEMO
from benchmarks.texts import Job
from benchmarks.verdicts import Verdicts
from rerankq.settings import Settings
from worker.engine.hosted import HostedEngine, host

WINDOWS = 10
PIECES = 20  # of a window: some 2 s each
MOST_OFF = 0.10
MOST_GROWTH = 0.05
MB = 1e6


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=100_000)
    window = parser.parse_args().pairs // WINDOWS
    engine = host(Settings(model=str(DEMO), device="cpu"))
    small = list(islice(_documents(seed=2), 1))
    large = chain.from_iterable(scored(engine, _documents(seed=1)))
    references, rates, resident = [], [], []
    for number in range(1, WINDOWS + 1):
        rate, reference = _window(engine, large, small, window)
        rates.append(rate)
        references.append(reference)
        resident.append(psutil.Process().memory_info().rss / MB)
        print(
            f"{number * window:7} pairs: {rate:.0f} pairs/s, beside it {reference:.0f}; "
            f"{resident[-1]:.0f} MB",
            flush=True,
        )
    return _judge(rates, references, resident)


def _window(
    engine: HostedEngine, large: Iterator[object], small: list[Job], window: int
) -> tuple[float, float]:
    """Pairs/s of the next `window` pairs, and of the small jobs between them."""
    spent = beside = 0.0
    piece = window // PIECES
    for _ in range(PIECES):
        started = time.perf_counter()
        for _ in islice(large, piece):
            pass
        half = time.perf_counter()
        spent += half - started
        for _ in scored(engine, small):
            pass
        beside += time.perf_counter() - half
    return piece * PIECES / spent, PIECES * SLICE / beside


def _judge(rates: list[float], references: list[float], resident: list[float]) -> int:
    verdicts = Verdicts()
    ratios = [rate / reference for rate, reference in zip(rates, references, strict=True)]
    middle = statistics.median(ratios)
    off = max(abs(ratio / middle - 1) for ratio in ratios)
    verdicts.judge(off <= MOST_OFF, f"time: windows within {off:.1%} of their median, bound 10 %")
    growth = resident[-1] / resident[0] - 1
    verdicts.judge(growth <= MOST_GROWTH, f"memory: {growth:+.1%} from first to last, bound 5 %")
    return verdicts.code


def _documents(seed: int) -> Iterator[Job]:
    """One query's documents without end, a slice at a time, as a worker gets a job's shards."""
    rng = random.Random(seed)
    query = prose.query(rng)
    while True:
        yield query, prose.documents(rng, SLICE)


if __name__ == "__main__":
    sys.exit(main())
