"""Which autoscaling serves a day of rerank work best, on a model of the day.

    python -m benchmarks.autoscale [--seed 1] [--trace DAY.csv] [--price 2.5] [--rate 250]

Replays five synthetic days, or recorded ones (`--trace`, lines of second and pairs), under each
scaler, and prints waits, GPU hours and cost, whether the defaults beat the CPU HPA, and the
defaults. `--choose` looks for them. docs/autoscaling.md says what the model assumes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path

from benchmarks.autoscaling import chart, chosen, report
from benchmarks.autoscaling.cluster import Pool
from benchmarks.autoscaling.lanes import cut
from benchmarks.autoscaling.policies import (
    Policy,
    cpu_hpa,
    drain_time,
    latency_hpa,
    ledger,
    ledger_and_device,
    list_length,
)
from benchmarks.autoscaling.traces import MAKERS, Trace, recorded, synthetic
from benchmarks.autoscaling.world import World


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    pool = Pool(rate=options.rate, price=options.price)
    if options.choose:
        print(_choose(options, pool))
        return 0
    rows: list[report.Row] = []
    verdicts = []
    for trace in _traces(options, pool):
        of_trace = compare(trace, pool, options.seed)
        print(report.table(of_trace, pool.price), end="\n\n", flush=True)
        verdicts += [report.verdict(row, of_trace[0]) for row in of_trace[-2:]]
        rows += of_trace
    print("against the CPU HPA, p95 wait at no more GPU hours:", *verdicts, sep="\n")
    print(f"\ndefaults:\n{chosen.said(chosen.DEFAULT)}")
    if options.chart:
        options.chart.write_text(chart.svg(rows))
    return 0


def policies() -> list[Policy]:
    default = chosen.DEFAULT
    return [
        cpu_hpa(request=1),
        cpu_hpa(request=4),
        latency_hpa(),
        list_length(replace(default, share=30)),
        ledger(replace(default, share=30)),
        ledger(default),
        drain_time(30, default),
        ledger_and_device(default, "default"),
        ledger_and_device(chosen.NEVER_ZERO, "default, never zero"),
    ]


def compare(trace: Trace, pool: Pool, seed: int) -> list[report.Row]:
    shards = cut(trace, pool.rate, pool.shard_s)
    return [
        report.Row(trace, policy.name, World(policy, pool, seed).run(shards, trace.seconds))
        for policy in policies()
    ]


def _choose(options: argparse.Namespace, pool: Pool) -> str:
    """The candidates that do best, over all synthetic days of as many seeds as asked for."""
    days = [(day, seed) for seed in range(1, options.choose + 1) for day in chosen.DAYS]
    with ProcessPoolExecutor() as processes:
        tried = list(processes.map(chosen.trials, *zip(*days, strict=True), repeat(pool)))
    lines = ["hours / CPU HPA's at worst, p95 wait / CPU HPA's at worst, on average"]
    for hours, worst, mean, scaling in chosen.ranking(tried)[:12]:
        lines.append(f"{hours:.2f} {worst:.2f} {mean:.2f} {scaling}")
    lines.append("to zero on the sparse day: pollingInterval, cooldownPeriod, p50, p95, GPU hours")
    for scaling, p50, p95, hours in chosen.to_zero(options.seed, pool):
        when = f"{scaling.polling_s:g} {scaling.cooldown_s:g}"
        lines.append(f"{when} {p50:.0f} {p95:.0f} {hours:.1f}")
    return "\n".join(lines)


def _traces(options: argparse.Namespace, pool: Pool) -> Iterator[Trace]:
    if options.trace:
        return (recorded(path) for path in options.trace)
    return (synthetic(name, options.seed, pool.rate) for name in MAKERS)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trace", type=Path, action="append", help="CSV of second, pairs")
    parser.add_argument("--rate", type=float, default=Pool.rate, help="pairs/s of a replica")
    parser.add_argument("--price", type=float, default=Pool.price, help="of a GPU hour")
    parser.add_argument("--chart", type=Path, metavar="SVG", help="draw it there as well")
    parser.add_argument("--choose", type=int, metavar="SEEDS", help="look for the defaults")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
