"""That a large job costs what its pairs cost: neither time nor memory grows with what went before.

    python -m benchmarks.linear --pairs 100000

One job of so many documents goes through the in-process engine with the demo model, in ten windows.
After each window a small job of its own is scored, because the machine's speed drifts: a window's
rate is divided by the mean of the small jobs' around it. Bounds; exit status 1 if one is broken:

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
from itertools import chain, islice, pairwise

import psutil

from benchmarks import prose
from benchmarks.engine import SLICE, scored
from benchmarks.shapes import DEMO
from benchmarks.texts import Job
from benchmarks.verdicts import Verdicts
from rerankq.settings import Settings
from worker.engine.hosted import HostedEngine, host

WINDOWS = 10
REFERENCE_SHARE = 5  # a small job has a fifth of a window's pairs
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
    small = _slices(seed=2, count=max(1, window // REFERENCE_SHARE // SLICE))
    large = chain.from_iterable(scored(engine, _documents(seed=1)))
    references, rates, resident = [_rate(engine, small)], [], []
    for number in range(1, WINDOWS + 1):
        started = time.perf_counter()
        pairs = sum(1 for _ in islice(large, window))
        rates.append(pairs / (time.perf_counter() - started))
        resident.append(psutil.Process().memory_info().rss / MB)
        references.append(_rate(engine, small))
        print(
            f"{number * window:7} pairs: {rates[-1]:.0f} pairs/s, beside it "
            f"{references[-1]:.0f}; {resident[-1]:.0f} MB",
            flush=True,
        )
    return _judge(rates, references, resident)


def _judge(rates: list[float], references: list[float], resident: list[float]) -> int:
    verdicts = Verdicts()
    around = [(before + after) / 2 for before, after in pairwise(references)]
    ratios = [rate / reference for rate, reference in zip(rates, around, strict=True)]
    middle = statistics.median(ratios)
    off = max(abs(ratio / middle - 1) for ratio in ratios)
    verdicts.judge(off <= MOST_OFF, f"time: windows within {off:.1%} of their median, bound 10 %")
    growth = resident[-1] / resident[0] - 1
    verdicts.judge(growth <= MOST_GROWTH, f"memory: {growth:+.1%} from first to last, bound 5 %")
    return verdicts.code


def _rate(engine: HostedEngine, jobs: list[Job]) -> float:
    started = time.perf_counter()
    pairs = sum(len(batch) for batch in scored(engine, jobs))
    return pairs / (time.perf_counter() - started)


def _slices(seed: int, count: int) -> list[Job]:
    return list(islice(_documents(seed), count))


def _documents(seed: int) -> Iterator[Job]:
    """One query's documents without end, a slice at a time, as a worker gets a job's shards."""
    rng = random.Random(seed)
    query = prose.query(rng)
    while True:
        yield query, prose.documents(rng, SLICE)


if __name__ == "__main__":
    sys.exit(main())
