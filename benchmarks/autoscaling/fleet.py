"""The workers of a day: who is ready, who is idle, who goes first."""

from __future__ import annotations

from random import Random

from benchmarks.autoscaling.cluster import Nodes, Pod, Pool


class Fleet:
    def __init__(self, pool: Pool, seed: int) -> None:
        self._pool = pool
        self._nodes = Nodes(pool, Random(seed))
        self.pods: list[Pod] = []  # the oldest first; those that leave are not among them
        self.idle: list[Pod] = []
        self._looked_at = 0.0

    def grow(self, now: float, wanted: int) -> list[Pod]:
        """The pods that come; each is to be told `ready` when its time has come."""
        new = [self._nodes.place(now) for _ in range(wanted - len(self.pods))]
        self.pods += new
        return new

    def shrink(self, now: float, wanted: int) -> None:
        """As a ReplicaSet chooses: those not ready first, then the youngest."""
        while len(self.pods) > wanted:
            pod = max(self.pods, key=lambda pod: pod.ready_at)
            self.pods.remove(pod)
            pod.leaving = True
            if pod.since is None:
                if pod in self.idle:
                    self.idle.remove(pod)
                self.gone(now, pod)

    def ready(self, pod: Pod) -> bool:
        """The pod may work from now on; False: it was given up before it came."""
        if not pod.leaving:
            self.idle.append(pod)
        return not pod.leaving

    def gone(self, now: float, pod: Pod) -> None:
        self._nodes.release(now + self._pool.drain_s, pod)

    def count_ready(self, now: float) -> int:
        return sum(1 for pod in self.pods if pod.ready_at <= now)

    def look(self, now: float) -> tuple[tuple[float, ...], int]:
        """CPU of each pod that has been ready since the last look, and how many have not."""
        cores, unready = [], 0
        for pod in self.pods:
            if pod.ready_at > self._looked_at:
                unready += 1
            else:
                share = (pod.busy_until(now) - pod.seen_s) / (now - self._looked_at)
                cores.append(self._pool.cores_idle + share * self._pool.cores_busy)
            pod.seen_s = pod.busy_until(now)
        self._looked_at = now
        return tuple(cores), unready

    def beat(self, now: float) -> None:
        for pod in self.pods:
            if pod.ready_at < now:
                pod.beat(now)

    def busy_tenths(self) -> int:
        """What the heartbeats said last; a worker that leaves is out at once."""
        return sum(pod.tenths for pod in self.pods)

    def hours(self, now: float) -> float:
        return self._nodes.hours(now)
