"""The system at saturation: memory, an interactive job's latency, and turns among bulk jobs.

    make soak                           (or: python -m benchmarks.soak --minutes 10)

One API, one worker, Redis. First, on the idle system: 10-document interactive jobs one at a time,
and what a full batch takes (the worker's own clock, a bulk job alone). Then a flood keeps the bulk
lane from emptying for `--minutes`, interactive jobs go on one at a time, and memory is looked at.
Last, still under the flood, a bulk job of 100 shards and one of a single shard are submitted
together, the large one first. The bounds; exit status 1 if any of them is broken:

  flood     at every look some bulk entry waited, so that it was saturation the whole time, and
            none of the flood's jobs failed
  latency   the interactive p95 of a third of the time, the median of three such thirds, is at most
            5 idle medians and 2 full batches. Jobs come at random moments (a pause of up to 0.5 s
            between them), so as not to march in step with the batches.
  memory    from the second quarter of the time to the last, the median grew by at most 8 MB, for
            each of API, worker and Redis. The first quarter is for what fills once: allocators,
            caches, and Redis until as many results expire as arrive (they are kept for 30 s). What
            a process holds wavers by a few MB with what is in flight, so a line through all of it
            says less than two medians; the slope is printed beside them. Something that is kept
            of each job would show in 10 minutes: its documents alone are about 25 kB, and
            hundreds of jobs pass between the two quarters.
  turns     the small job ended while less than a tenth of the large one was scored, and the large
            one, which began before it, never stood still for more than 30 s from its first score
            to its last. Then the flood ends, and the large job with it.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks import prose
from benchmarks.flood import Flood
from benchmarks.memory import Memory
from benchmarks.spread import spread
from benchmarks.verdicts import Verdicts
from rerankq import Client, Lane
from scripts.localsystem import LocalSystem

RESULT_TTL_S = 30
IDLE_JOBS = 40
DOCUMENTS = 10
CLIENTS = 12  # of the flood
WINDOWS = 3
LONGEST_PAUSE_S = 0.5
TIMES_IDLE = 5
BATCHES = 2
GROWTH_MB = 8.0
LOOK_EVERY_S = 2.0
STANDSTILL_S = 30.0
SMALL_ENDED_BY = 0.1  # of the large job
UNDER_FLOOD_S = 60.0  # of the two bulk jobs; then the large one has the worker for itself


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--shards", type=int, default=100, help="of the large bulk job")
    args = parser.parse_args()
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("RERANKQ_")
    }
    environment["RERANKQ_RESULT_TTL"] = str(RESULT_TTL_S)
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory() as folder:
        system = LocalSystem(Path(folder), env=environment)
        system.start()
        try:
            soak(system, 60 * args.minutes, args.shards, verdicts)
        finally:
            system.stop()
    return verdicts.code


def soak(system: LocalSystem, seconds: float, shards: int, verdicts: Verdicts) -> None:
    worker = Probe(system)
    latency(system.url, jobs=5)
    idle = statistics.median(latency(system.url, jobs=IDLE_JOBS))
    batch, per_shard = full_batch(system.url, worker)
    bound = TIMES_IDLE * idle + BATCHES * batch
    print(f"idle: {ms(idle)} a job of {DOCUMENTS} documents, {ms(batch)} a full batch", flush=True)

    flood, memory = Flood(system.url, CLIENTS), Memory(system, LOOK_EVERY_S)
    flood.start()
    try:
        memory.start()
        before = worker.forward()
        windows = [latency(system.url, seconds=seconds / WINDOWS) for _ in range(WINDOWS)]
        loaded = mean(before, worker.forward())
        memory.stop()
        print(f"flood: {flood.jobs} jobs, {ms(loaded)} a batch, {sum(map(len, windows))} measured")
        judge_latency(windows, bound, idle, verdicts)
        judge_memory(memory, verdicts)
        turns = Turns(system.url, documents=int(shards * per_shard))
        turns.watch(for_s=UNDER_FLOOD_S)
        flood.end()
        turns.watch()
    finally:
        flood.stop()
    low = min(flood.waiting)
    verdicts.judge(low > 0, f"flood: {low} bulk entries waited at the least")
    verdicts.judge(flood.failed == 0, f"flood: {flood.failed} of {flood.jobs} jobs failed")
    turns.judge(verdicts)
    verdicts.judge(all(child.alive for child in system.children), "every process lived through it")


class Probe:
    """The worker's own clock."""

    def __init__(self, system: LocalSystem) -> None:
        self._url = f"{system.child('worker-1').probe}/metrics"

    def forward(self) -> tuple[float, float]:
        """Seconds of all batches so far, and their number."""
        text = httpx.get(self._url).text
        found = [
            re.search(rf"^rerankq_forward_seconds_{part} (\S+)", text, re.MULTILINE)
            for part in ("sum", "count")
        ]
        seconds, count = (float(match[1]) for match in found if match)
        return seconds, count


def mean(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Seconds a batch between two looks at the worker's clock."""
    return (after[0] - before[0]) / (after[1] - before[1])


def latency(url: str, *, jobs: int | None = None, seconds: float = float("inf")) -> list[float]:
    """Seconds of each of so many interactive jobs, or of those of so many seconds."""
    rng = random.Random(jobs)
    took: list[float] = []
    deadline = time.monotonic() + seconds
    with Client(url) as client:
        while len(took) != jobs and time.monotonic() < deadline:
            query, documents = prose.query(rng), prose.documents(rng, DOCUMENTS)
            started = time.perf_counter()
            client.rerank(query, documents)
            took.append(time.perf_counter() - started)
            time.sleep(rng.uniform(0, LONGEST_PAUSE_S))
    return took


def full_batch(url: str, worker: Probe) -> tuple[float, float]:
    """Seconds a full batch takes on the idle system, and documents of a shard of such prose.

    Twice, since the API cuts by a rate that the worker learns from its first full batches.
    """
    rng = random.Random(0)
    with Client(url) as client:
        for _ in range(2):
            before = worker.forward()
            job = client.submit(prose.query(rng), prose.documents(rng, 400), lane=Lane.BULK)
            entries = client.queue().backlog
            client.wait(job.id)
            batch = mean(before, worker.forward())
    return batch, 400 / entries


def judge_latency(
    windows: list[list[float]], bound: float, idle: float, verdicts: Verdicts
) -> None:
    p95s = [statistics.quantiles(window, n=20)[-1] for window in windows]
    p95 = statistics.median(p95s)
    verdicts.judge(
        p95 <= bound,
        f"latency: p95 {spread([1000 * each for each in p95s], '.0f')} ms in {WINDOWS} windows, "
        f"bound {ms(bound)}; {p95 / idle:.1f} idle medians",
    )


def judge_memory(memory: Memory, verdicts: Verdicts) -> None:
    for name, series in memory.series.items():
        quarters = ", ".join(f"{series.quarter(n):.1f}" for n in (1, 2, 3, 4))
        verdicts.judge(
            series.growth <= GROWTH_MB,
            f"memory: {name} {quarters} MB by quarter, growth {series.growth:+.1f} MB, "
            f"bound {GROWTH_MB:g}; slope {series.slope:+.1f} MB/h",
        )


@dataclass
class Progress:
    """One bulk job, as it was seen."""

    id: str
    total: int
    scored: int = 0
    moved: float | None = None  # when it was first seen to have more scored than before
    ended: float | None = None
    longest_standstill_s: float = field(default=0.0)

    def see(self, scored: int, final: bool, now: float) -> None:
        if scored > self.scored:
            if self.moved is not None:
                self.longest_standstill_s = max(self.longest_standstill_s, now - self.moved)
            self.scored, self.moved = scored, now
        elif self.moved is not None:
            self.longest_standstill_s = max(self.longest_standstill_s, now - self.moved)
        if final and self.ended is None:
            self.ended = now


class Turns:
    """A large and a small bulk job, submitted together."""

    def __init__(self, url: str, documents: int) -> None:
        rng = random.Random(2)
        self._url = url
        self._started = time.monotonic()
        self._next_line = 0.0
        with Client(url) as client:
            ids = [
                client.submit(prose.query(rng), prose.documents(rng, size), lane=Lane.BULK).id
                for size in (documents, DOCUMENTS)
            ]
        self.large, self.small = Progress(ids[0], documents), Progress(ids[1], DOCUMENTS)
        self.large_when_small_ended = 1.0
        print(f"turns: bulk jobs of {documents} and {DOCUMENTS} documents submitted together")

    def watch(self, for_s: float = float("inf")) -> None:
        """Until both have ended, or for so many seconds."""
        deadline = time.monotonic() + for_s
        with Client(self._url) as client:
            while time.monotonic() < deadline and not (self.large.ended and self.small.ended):
                self._look(client)
                time.sleep(0.25)

    def _look(self, client: Client) -> None:
        for progress in (self.small, self.large):
            if progress.ended is None:
                job = client.get(progress.id)
                now = time.monotonic() - self._started
                progress.see(job.progress.scored, job.status.final, now)
        if self.small.ended is not None and self.large_when_small_ended == 1.0:
            self.large_when_small_ended = self.large.scored / self.large.total
        now = time.monotonic() - self._started
        if now >= self._next_line:
            self._next_line = now + 10
            shown = [f"{p.scored}/{p.total}" for p in (self.small, self.large)]
            print(f"       {now:4.0f} s: small {shown[0]}, large {shown[1]}", flush=True)

    def judge(self, verdicts: Verdicts) -> None:
        for name, progress in (("small", self.small), ("large", self.large)):
            assert progress.ended is not None
            assert progress.scored == progress.total, f"the {name} job failed"
        share = self.large_when_small_ended
        verdicts.judge(
            share < SMALL_ENDED_BY,
            f"turns: small ended after {self.small.ended:.0f} s, with {share:.1%} of the large one "
            f"scored, bound {SMALL_ENDED_BY:.0%}",
        )
        longest = self.large.longest_standstill_s
        verdicts.judge(
            longest <= STANDSTILL_S,
            f"turns: large ended after {self.large.ended:.0f} s, never without progress for more "
            f"than {longest:.1f} s, bound {STANDSTILL_S:g}",
        )


def ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms"


if __name__ == "__main__":
    sys.exit(main())
