"""The HorizontalPodAutoscaler's arithmetic, as Kubernetes documents it and its controller does it.

kubernetes.io, "Horizontal Pod Autoscaling": algorithm details, scaling policies, stabilization.
Pure: no clock, no pods.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

SYNC_S = 15.0  # --horizontal-pod-autoscaler-sync-period
TOLERANCE = 0.1  # --horizontal-pod-autoscaler-tolerance


@dataclass(frozen=True, slots=True)
class Limit:
    """How much may change within a period: an entry of `policies`."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Rules:
    """One direction of `behavior`."""

    stabilization_s: int
    limits: tuple[Limit, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"


@dataclass(frozen=True, slots=True)
class Behavior:
    """`behavior` of an HPA."""

    up: Rules
    down: Rules


# What Kubernetes does where nothing is said.
DEFAULT = Behavior(
    up=Rules(0, (Limit("Percent", 100, 15), Limit("Pods", 4, 15))),
    down=Rules(300, (Limit("Percent", 100, 15),)),
)


def by_average_value(total: float, target: float, current: int) -> int:
    """An external metric with an `AverageValue` target: the kind KEDA makes."""
    if _close(total / (target * current)):
        return current
    return ceil(total / target)


def by_pods(values: Sequence[int], target: int, current: int, unready: int) -> int | None:
    """A metric of each pod (CPU in percent of its request, latency in ms); None: nothing to go by.

    Args:
        values: of the ready pods.
        unready: pods that are not ready yet: ignored downward, taken for idle upward.
    """
    if not values:
        return None
    ratio = sum(values) // len(values) / target
    if ratio <= 1 or not unready:
        return current if _close(ratio) else ceil(ratio * len(values))
    everyone = len(values) + unready
    damped = sum(values) // everyone / target
    if damped < 1 or _close(damped):
        return current
    return max(current, ceil(damped * everyone))


def _close(ratio: float) -> bool:
    return 1 - TOLERANCE <= ratio <= 1 + TOLERANCE


class Hpa:
    """One autoscaler's memory: past recommendations and past changes."""

    def __init__(self, least: int, most: int, behavior: Behavior, current: int) -> None:
        self._least, self._most, self._behavior = least, most, behavior
        window = max(behavior.up.stabilization_s, behavior.down.stabilization_s)
        # As long as the longest window, at one recommendation a sync.
        self._recommended: deque[tuple[float, int]] = deque(
            [(0.0, current)], maxlen=int(window / SYNC_S) + 2
        )
        self._changes: deque[tuple[float, int]] = deque(maxlen=256)

    def sync(self, now: float, current: int, proposal: int | None) -> int:
        """The replicas to have from now on; `proposal` is what the metrics say."""
        wanted = self._wanted(now, current, proposal)
        if wanted != current:
            self._changes.append((now, wanted - current))
        return wanted

    def _wanted(self, now: float, current: int, proposal: int | None) -> int:
        if current == 0:  # "implicit maintenance-mode deactivation": what KEDA relies on
            return 0
        if not self._least <= current <= self._most:
            return min(self._most, max(self._least, current))
        if proposal is None:
            return current
        steady = self._stabilized(now, current, proposal)
        if steady > current:
            limit = self._limit(now, current, self._behavior.up, grows=1)
            return min(steady, self._most, max(current, limit))
        if steady < current:
            limit = self._limit(now, current, self._behavior.down, grows=-1)
            return max(steady, self._least, min(current, limit))
        return current

    def _stabilized(self, now: float, current: int, proposal: int) -> int:
        up = down = proposal
        for at, replicas in self._recommended:
            if at > now - self._behavior.up.stabilization_s:
                up = min(up, replicas)
            if at > now - self._behavior.down.stabilization_s:
                down = max(down, replicas)
        self._recommended.append((now, proposal))
        return min(max(current, up), down)

    def _limit(self, now: float, current: int, rules: Rules, *, grows: int) -> int:
        """How far the rules let it go; `grows` is 1 upwards, -1 downwards."""
        if rules.select == "Disabled":
            return current
        reached = []
        for limit in rules.limits:
            start = self._before(now, current, limit.period_s)
            # A percentage is of what there was, and rounded so that it always moves one.
            step = limit.value if limit.kind == "Pods" else -(-start * limit.value // 100)
            reached.append(grows * start + step)
        return grows * (max(reached) if rules.select == "Max" else min(reached))

    def _before(self, now: float, current: int, period_s: int) -> int:
        """The replicas there were a period ago, by what this autoscaler changed since."""
        return current - sum(change for at, change in self._changes if at > now - period_s)
