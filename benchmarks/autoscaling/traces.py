"""Days of arrivals: synthetic ones, the same for the same seed, and recorded ones."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import cos, exp, pi
from pathlib import Path
from random import Random
from typing import Literal

HOUR = 3600.0
DAY = 24 * HOUR
BULK_PAIRS = 2_000  # a recorded job of more than this is taken for bulk
Lane = Literal["interactive", "bulk"]


@dataclass(frozen=True, slots=True)
class Job:
    at: float
    pairs: int
    lane: Lane


@dataclass(frozen=True, slots=True)
class Trace:
    name: str
    jobs: list[Job]
    seconds: float

    @property
    def pairs(self) -> int:
        return sum(job.pairs for job in self.jobs)


def synthetic(name: str, seed: int, rate: float) -> Trace:
    """One of `MAKERS`, `rate` pairs/s being one replica's; loads below are in busy replicas."""
    jobs = MAKERS[name](Random(f"{seed} {name}"), rate)
    return Trace(name, sorted((job for job in jobs if job.at < DAY), key=lambda job: job.at), DAY)


def recorded(path: Path) -> Trace:
    """Lines of (second, pairs), a job each; a header and further columns are passed over."""
    jobs = []
    with path.open(newline="") as lines:
        for row in csv.reader(lines):
            try:
                at, pairs = float(row[0]), int(float(row[1]))
            except (ValueError, IndexError):
                continue
            jobs.append(Job(at, pairs, "bulk" if pairs > BULK_PAIRS else "interactive"))
    if not jobs:
        raise SystemExit(f"{path}: no line of (second, pairs)")
    first = min(job.at for job in jobs)
    jobs = sorted((Job(j.at - first, j.pairs, j.lane) for j in jobs), key=lambda job: job.at)
    return Trace(path.stem, jobs, jobs[-1].at + 1)


def _diurnal(random: Random, rate: float) -> Iterator[Job]:
    """From 0.2 at four in the morning to 3.2 at four in the afternoon, and twenty bursts."""
    bursts = []
    for _ in range(20):
        start = random.triangular(6 * HOUR, 22 * HOUR)
        bursts.append((start, start + random.uniform(60, 300), random.uniform(2, 5)))

    def load(at: float) -> float:
        extra = sum(height for start, stop, height in bursts if start <= at < stop)
        return _daily(at, 0.2, 3.2) + extra

    return _interactive(random, load, rate)


def _night_bulk(random: Random, rate: float) -> Iterator[Job]:
    """A quiet day of up to 1.2; at one in the morning 2.5 million pairs in a quarter hour."""
    yield from _interactive(random, lambda at: _daily(at, 0.1, 1.2), rate)
    for _ in range(250):
        at = HOUR + random.uniform(0, 900)
        yield Job(at, random.randint(5_000, 15_000), "bulk")


def _flash(random: Random, rate: float) -> Iterator[Job]:
    """0.5 all day; at noon 6 within a minute, for forty minutes, and half of that at six."""

    def load(at: float) -> float:
        return 0.5 + _crowd(at - 12 * HOUR, 5.5) + _crowd(at - 18 * HOUR, 2.75)

    return _interactive(random, load, rate)


def _trickle(random: Random, rate: float) -> Iterator[Job]:
    """A job in five minutes by day, in an hour by night."""
    at = 0.0
    while at < DAY:
        at += random.expovariate(1 / 300 if 7 * HOUR <= at < 20 * HOUR else 1 / 3600)
        yield Job(at, _candidates(random), "interactive")


def _sparse(random: Random, rate: float) -> Iterator[Job]:
    """A trickle, and six evaluations of 300 to 3,000 jobs, submitted twenty a second."""
    yield from _trickle(random, rate)
    for _ in range(6):
        at = random.uniform(8 * HOUR, 19 * HOUR)
        for _ in range(random.randint(300, 3_000)):
            at += random.expovariate(20)
            yield Job(at, _candidates(random), "interactive")


def _interactive(random: Random, load: Callable[[float], float], rate: float) -> Iterator[Job]:
    """Poisson arrivals whose mean follows the load, ten seconds at a time."""
    per_replica = rate / MEAN_CANDIDATES
    for second in range(0, int(DAY), 10):
        intensity = load(second) * per_replica
        at = random.expovariate(intensity)
        while at < 10:
            yield Job(second + at, _candidates(random), "interactive")
            at += random.expovariate(intensity)


def _candidates(random: Random) -> int:
    """Documents of one interactive query: 10 to 100, mostly 50."""
    return round(random.triangular(10, 100, 50))


MEAN_CANDIDATES = (10 + 100 + 50) / 3


def _daily(at: float, low: float, high: float) -> float:
    return low + (high - low) * (1 - cos(2 * pi * (at - 4 * HOUR) / DAY)) / 2


def _crowd(since: float, height: float) -> float:
    """Rises within a minute, stays forty, and is halved every ten after that."""
    if since < 0:
        return 0.0
    if since < 2400:
        return height * min(1.0, since / 60)
    return height * exp(-(since - 2400) * 0.6931 / 600)


MAKERS: dict[str, Callable[[Random, float], Iterator[Job]]] = {
    "diurnal": _diurnal,
    "night bulk": _night_bulk,
    "flash crowd": _flash,
    "sparse": _sparse,
    "trickle": _trickle,
}
