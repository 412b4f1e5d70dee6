"""The defaults, and how they are chosen.

`DEFAULT` is what `python -m benchmarks.autoscale --choose` says; the manifests use its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from benchmarks.autoscaling.cluster import Pool
from benchmarks.autoscaling.lanes import cut
from benchmarks.autoscaling.policies import Scaling, cpu_hpa, ledger_and_device
from benchmarks.autoscaling.traces import synthetic
from benchmarks.autoscaling.world import World

DEFAULT = Scaling(share=50, busy=0.675, down_stabilization_s=60, cooldown_s=120)
NEVER_ZERO = replace(DEFAULT, least=1)
DAYS = ("diurnal", "night bulk", "flash crowd", "sparse")  # a trickle only asks for zero or not


def candidates() -> Iterator[Scaling]:
    grid = product((50, 100, 200), (0.65, 0.675, 0.7, 0.8), ((60, 120), (90, 120), (300, 300)))
    for share, busy, (down_s, cooldown_s) in grid:
        yield Scaling(share, busy, down_stabilization_s=down_s, cooldown_s=cooldown_s)


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate on one day, as ratios to the CPU HPA on the same day."""

    scaling: Scaling
    wait: float
    hours: float


def trials(day: str, seed: int, pool: Pool) -> list[Trial]:
    trace = synthetic(day, seed, pool.rate)
    shards = cut(trace, pool.rate, pool.shard_s)
    theirs = World(cpu_hpa(request=1), pool, seed).run(shards, trace.seconds)
    tried = []
    for scaling in candidates():
        ours = World(ledger_and_device(scaling, "candidate"), pool, seed).run(shards, trace.seconds)
        ratio = ours.wait(0.95) / theirs.wait(0.95)
        tried.append(Trial(scaling, ratio, ours.hours / theirs.hours))
    return tried


def ranking(days: Sequence[Sequence[Trial]]) -> list[tuple[float, float, float, Scaling]]:
    """(worst hours, worst wait, mean wait, scaling): first those that win every day at no more
    GPU hours, of these the shortest p95 wait by geometric mean."""
    rows = []
    for of_scaling in zip(*days, strict=True):
        hours = max(trial.hours for trial in of_scaling)
        worst = max(trial.wait for trial in of_scaling)
        mean = prod(trial.wait for trial in of_scaling) ** (1 / len(of_scaling))
        rows.append((hours, worst, mean, of_scaling[0].scaling))
    return sorted(rows, key=lambda row: (row[0] > 1 or row[1] >= 1, row[2]))


def to_zero(seed: int, pool: Pool) -> list[tuple[Scaling, float, float, float]]:
    """(scaling, p50 and p95 wait, hours) on the sparse day, by how KEDA goes to zero and back."""
    trace = synthetic("sparse", seed, pool.rate)
    shards = cut(trace, pool.rate, pool.shard_s)
    tried = []
    for polling_s, cooldown_s in product((5, 15, 30), (60, 300, 900)):
        scaling = replace(DEFAULT, polling_s=polling_s, cooldown_s=cooldown_s)
        outcome = World(ledger_and_device(scaling, "candidate"), pool, seed).run(
            shards, trace.seconds
        )
        tried.append((scaling, outcome.wait(0.5), outcome.wait(0.95), outcome.hours))
    return tried


def said(scaling: Scaling) -> str:
    """As a ScaledObject has it."""
    lines = {
        "formula": f"busy / {10 * scaling.busy:g} + open / {scaling.share:g}",
        "target": "1",
        "pollingInterval": f"{scaling.polling_s:g}",
        "cooldownPeriod": f"{scaling.cooldown_s:g}",
        "minReplicaCount": f"{scaling.least}; 1 where somebody waits for the first answer",
        "maxReplicaCount": f"{scaling.most}; what the cluster has",
        "scaleUp": f"{scaling.up_pods} pods in 15 s, stabilization 0 s",
        "scaleDown": f"100 percent in 15 s, stabilization {scaling.down_stabilization_s} s",
    }
    return "\n".join(f"  {name:16} {value}" for name, value in lines.items())
