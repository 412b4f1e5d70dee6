"""What waits, in the ledger's order: by fair score within a lane, one second in eight for bulk."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import NamedTuple

from benchmarks.autoscaling.traces import Lane, Trace

BULK_SHARE = 1 / 7  # of interactive work done, while both lanes wait


class Shard(NamedTuple):
    """One ledger entry. In the order of their fields: by fair score, then as they came."""

    fair: float
    number: int
    at: float
    work: float
    pairs: int
    lane: Lane


class Lanes:
    def __init__(self) -> None:
        self._interactive: list[Shard] = []
        self._bulk: list[Shard] = []
        self._owed = 0.0  # seconds of bulk work
        self.work = 0.0  # seconds of all that waits

    def __len__(self) -> int:
        return len(self._interactive) + len(self._bulk)

    def add(self, shard: Shard) -> None:
        self.work += shard.work
        heappush(self._interactive if shard.lane == "interactive" else self._bulk, shard)

    def take(self) -> Shard:
        shard = heappop(self._turn())
        self.work = self.work - shard.work if self else 0.0
        return shard

    def _turn(self) -> list[Shard]:
        if not (self._interactive and self._bulk):
            return self._interactive or self._bulk
        if self._owed >= self._bulk[0].work:
            self._owed -= self._bulk[0].work
            return self._bulk
        self._owed += self._interactive[0].work * BULK_SHARE
        return self._interactive


def cut(trace: Trace, rate: float, shard_s: float) -> list[Shard]:
    """A trace's shards of at most `shard_s`, each job's as equal as pairs allow."""
    shards = []
    for number, job in enumerate(trace.jobs):
        count = -(-job.pairs // int(rate * shard_s))
        for k in range(count):
            pairs = (k + 1) * job.pairs // count - k * job.pairs // count
            fair = job.at + k * shard_s
            shards.append(Shard(fair, number, job.at, pairs / rate, pairs, job.lane))
    return shards
