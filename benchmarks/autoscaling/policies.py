"""The scalers compared: the reference guide's two HPAs, a list's length, and the ledger's ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.autoscaling.hpa import DEFAULT, Behavior, Limit, Rules, by_average_value, by_pods
from benchmarks.autoscaling.seen import Seen

MOST = 10  # replicas, for every policy: what the cluster has


@dataclass(frozen=True, slots=True)
class Policy:
    """One scaler. Without `active` it is an HPA alone, which never goes to zero.

    Attributes:
        replicas: what the HPA's metric asks for; None: the metric says nothing.
        active: KEDA's trigger, looked at every `polling_s`: from zero to one at once, to zero after
            `cooldown_s` without it, if `least` is 0.
    """

    name: str
    replicas: Callable[[Seen, int], int | None]
    least: int = 1
    most: int = MOST
    behavior: Behavior = DEFAULT
    active: Callable[[Seen], bool] | None = None
    polling_s: float = 30.0
    cooldown_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Scaling:
    """The fields of a ScaledObject that this model chooses.

    Attributes:
        share: pending entries for one replica.
        busy: part of its time that a replica's device shall work; 0: not looked at.
    """

    share: float
    busy: float = 0.0
    polling_s: float = 5.0
    cooldown_s: float = 300.0
    up_pods: int = 4  # in 15 s
    down_stabilization_s: int = 300
    least: int = 0
    most: int = MOST

    @property
    def behavior(self) -> Behavior:
        up = Rules(0, (Limit("Pods", self.up_pods, 15),))
        return Behavior(up, Rules(self.down_stabilization_s, (Limit("Percent", 100, 15),)))


def cpu_hpa(request: float, percent: int = 70) -> Policy:
    """The reference guide's: CPU at 70 % of the request, Kubernetes' own behaviour."""

    def replicas(seen: Seen, current: int) -> int | None:
        used = [int(100 * cores / request) for cores in seen.cores]
        return by_pods(used, percent, current, seen.unready)

    return Policy(f"CPU HPA {percent} %, {request:g}-core request", replicas)


def latency_hpa(limit_ms: int = 500) -> Policy:
    """The p95 of answers, the same for every ready pod."""

    def replicas(seen: Seen, current: int) -> int | None:
        if seen.scraped_p95_s is None:
            return None
        measured = [round(1000 * seen.scraped_p95_s)] * len(seen.cores)
        return by_pods(measured, limit_ms, current, seen.unready)

    return Policy(f"latency HPA, p95 {limit_ms} ms", replicas)


def keda(name: str, measure: Callable[[Seen], float], scaling: Scaling) -> Policy:
    """A ScaledObject whose metric is `measure`, one `share` of it for each replica."""

    def replicas(seen: Seen, current: int) -> int:
        return by_average_value(measure(seen), scaling.share, current)

    return Policy(
        name,
        replicas,
        scaling.least,
        scaling.most,
        scaling.behavior,
        lambda seen: measure(seen) > 0,
        scaling.polling_s,
        scaling.cooldown_s,
    )


def list_length(scaling: Scaling) -> Policy:
    """What a broker's list shows: it forgets what workers hold, and scales down under them."""
    return keda(f"list length / {scaling.share:g}", lambda seen: seen.waiting, scaling)


def ledger(scaling: Scaling) -> Policy:
    return keda(f"ledger / {scaling.share:g}", lambda seen: seen.pending, scaling)


def drain_time(wanted_s: float, scaling: Scaling) -> Policy:
    """Measured work over the wanted time, by way of Prometheus."""
    name = f"drain time, {wanted_s:g} s"
    return keda(name, lambda seen: seen.scraped_work_s, replace(scaling, share=wanted_s))


def ledger_and_device(scaling: Scaling, name: str) -> Policy:
    """What steady work keeps busy, and what a backlog asks for beyond: their sum.

    While the devices keep up, pending entries are few and the first term holds the replicas; a
    backlog keeps every device busy, which no longer tells how long it is, and the second term does.
    """

    def wish(seen: Seen) -> float:
        workers = seen.busy_tenths / (10 * scaling.busy) + seen.pending / scaling.share
        return int(1000 * workers) / 1000  # as KEDA cuts it

    return keda(name, wish, replace(scaling, share=1))
