"""A day, event by event: jobs arrive, workers take shards, scalers look and act."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from benchmarks.autoscaling.cluster import BEAT_S, Pod, Pool
from benchmarks.autoscaling.fleet import Fleet
from benchmarks.autoscaling.hpa import SYNC_S, Hpa
from benchmarks.autoscaling.lanes import Lanes, Shard
from benchmarks.autoscaling.policies import Policy
from benchmarks.autoscaling.seen import Seen
from benchmarks.autoscaling.traces import HOUR, Lane

SCRAPE_S = 15.0  # Prometheus
WINDOW_S = 60.0  # of its percentiles
PATIENCE_S = 6 * HOUR  # after the day; what waits even then is given up, and counted


@dataclass
class Outcome:
    """What a day came to. Waits are counted in hundredths of a second, weighted by pairs."""

    waits: dict[Lane, Counter[int]] = field(
        default_factory=lambda: {"interactive": Counter(), "bulk": Counter()}
    )
    curve: list[tuple[float, int, int]] = field(default_factory=list)  # at, replicas, pending
    hours: float = 0.0
    work_hours: float = 0.0
    given_up: int = 0

    def wait(self, share: float, lane: Lane | None = None) -> float:
        """The wait, in seconds, that this share of the pairs did not exceed."""
        counted = self.waits[lane] if lane else self.waits["interactive"] + self.waits["bulk"]
        left = share * counted.total()
        for hundredths in sorted(counted):
            left -= counted[hundredths]
            if left <= 0:
                return hundredths / 100
        return 0.0


class World:
    """Everything a scaler can see, and the events that change it."""

    def __init__(self, policy: Policy, pool: Pool, seed: int) -> None:
        self._policy, self._pool = policy, pool
        self._fleet = Fleet(pool, seed)
        self._lanes = Lanes()
        self._events: list[tuple[float, int, Callable[[float, Any], None], Any]] = []
        self._scheduled = 0
        self._busy = 0
        self._open_s = 0.0  # device time of all open entries
        self._latencies: deque[tuple[float, float]] = deque()
        self._scraped: tuple[float, float | None] = (0.0, None)
        self._active_at = 0.0
        self._outcome = Outcome()
        # The HPA that KEDA makes has a minimum of one; from and to zero is KEDA's own.
        start = max(1, policy.least)
        self._hpa = Hpa(start, policy.most, policy.behavior, start)
        for pod in self._fleet.grow(0.0, start):
            pod.ready_at = 0.0  # the day begins with what the night left
            self._fleet.ready(pod)

    def run(self, shards: Sequence[Shard], seconds: float) -> Outcome:
        self._at(SYNC_S, self._sync, None)
        self._at(self._policy.polling_s, self._poll, None)
        self._at(SCRAPE_S, self._scrape, None)
        self._at(BEAT_S / 2, self._beat, None)  # a look finds a heartbeat that is half as old
        events = self._events
        for shard in shards:
            while events[0][0] <= shard.at:
                now, _, act, what = heappop(events)
                act(now, what)
            self._arrive(shard.at, shard)
        now = seconds
        self._until(now)
        while self._pending() and now < seconds + PATIENCE_S:
            now += SYNC_S
            self._until(now)
        self._give_up(now)
        self._outcome.hours = self._fleet.hours(now)
        self._outcome.work_hours = sum(shard.work for shard in shards) / HOUR
        return self._outcome

    def _until(self, end: float) -> None:
        while self._events[0][0] <= end:
            now, _, act, what = heappop(self._events)
            act(now, what)

    def _at(self, when: float, act: Callable[[float, Any], None], what: Any) -> None:
        self._scheduled += 1
        heappush(self._events, (when, self._scheduled, act, what))

    # Work.

    def _arrive(self, now: float, shard: Shard) -> None:
        self._open_s += shard.work
        if self._fleet.idle:
            self._start(now, self._fleet.idle.pop(), shard)
        else:
            self._lanes.add(shard)

    def _start(self, now: float, pod: Pod, shard: Shard) -> None:
        pod.since = now
        self._busy += 1
        self._outcome.waits[shard.lane][int(100 * (now - shard.at))] += shard.pairs
        self._at(now + shard.work, self._finish, (pod, shard))

    def _finish(self, now: float, done: tuple[Pod, Shard]) -> None:
        pod, shard = done
        pod.busy_s, pod.since = pod.busy_until(now), None
        self._busy -= 1
        self._open_s -= shard.work
        if shard.lane == "interactive":
            self._latencies.append((now, now - shard.at))
        if pod.leaving:
            self._fleet.gone(now, pod)
        elif self._lanes:
            self._start(now, pod, self._lanes.take())
        else:
            self._fleet.idle.append(pod)

    def _ready(self, now: float, pod: Pod) -> None:
        if self._fleet.ready(pod) and self._lanes:
            self._start(now, self._fleet.idle.pop(), self._lanes.take())

    def _give_up(self, now: float) -> None:
        while self._lanes:
            shard = self._lanes.take()
            self._outcome.given_up += shard.pairs
            self._outcome.waits[shard.lane][int(100 * (now - shard.at))] += shard.pairs

    # Scalers.

    def _sync(self, now: float, _: None) -> None:
        cores, unready = self._fleet.look(now)
        current = len(self._fleet.pods)
        proposal = self._policy.replicas(self._seen(now, cores, unready), current) if current else 0
        self._scale(now, self._hpa.sync(now, current, proposal))
        self._outcome.curve.append((now, len(self._fleet.pods), self._pending()))
        self._at(now + SYNC_S, self._sync, None)

    def _poll(self, now: float, _: None) -> None:
        """KEDA's own part: from zero, and to zero."""
        if self._policy.active is None:
            return
        if self._policy.active(self._seen(now, (), 0)):
            self._active_at = now
            if not self._fleet.pods:
                self._scale(now, max(1, self._policy.least))
        elif self._policy.least == 0 and now - self._active_at > self._policy.cooldown_s:
            self._scale(now, 0)
        self._at(now + self._policy.polling_s, self._poll, None)

    def _scrape(self, now: float, _: None) -> None:
        latencies = self._latencies
        while latencies and latencies[0][0] < now - WINDOW_S:
            latencies.popleft()
        ordered = sorted(latency for _, latency in latencies)
        p95 = ordered[int(0.95 * len(ordered))] if ordered else None
        self._scraped = (self._open_s, p95)
        self._at(now + SCRAPE_S, self._scrape, None)

    def _beat(self, now: float, _: None) -> None:
        self._fleet.beat(now)
        self._at(now + BEAT_S, self._beat, None)

    def _scale(self, now: float, wanted: int) -> None:
        for pod in self._fleet.grow(now, wanted):
            self._at(pod.ready_at, self._ready, pod)
        self._fleet.shrink(now, wanted)

    def _seen(self, now: float, cores: tuple[float, ...], unready: int) -> Seen:
        tenths = self._fleet.busy_tenths()
        return Seen(tenths, self._pending(), self._waiting(now), *self._scraped, cores, unready)

    def _pending(self) -> int:
        return len(self._lanes) + self._busy

    def _waiting(self, now: float) -> int:
        """Beyond what workers hold: up to a room's worth each, of the front of the queue."""
        beyond = self._lanes.work - self._fleet.count_ready(now) * self._pool.room_s
        return round(len(self._lanes) * beyond / self._lanes.work) if beyond > 0 else 0
