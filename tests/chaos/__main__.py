"""`make chaos`: storms, one of kills alone, and drains; 1 if anything was lost, wrong or late."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from tests.chaos.drains import drain
from tests.chaos.run import Report, run
from tests.chaos.storm import Plan

HEAD = (
    "seed   jobs  tasks  worst score  kills  leases hit  redis kills  freezes  resets  api kills  "
    "redeliveries  recovery median/slowest  slowest job  left  seconds"
)
SECOND_LONG = (150, 400)  # documents that make shards of about a second on a CPU


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--storm", type=int, default=50, help="kills among shards of a second")
    parser.add_argument("--drains", type=int, default=20, help="SIGTERMs under saturation")
    args = parser.parse_args()
    clean = True
    print(HEAD, flush=True)
    for seed in args.seeds:
        clean &= _storm(seed, args.jobs, Plan(kills=args.kills), (1, 40))
    if args.storm:
        plan = Plan(kills=args.storm, redis_kills=0, freezes_s=(), resets=0, api_kills=0)
        clean &= _storm(50, 4 * args.storm, plan, SECOND_LONG)
    if args.drains:
        clean &= _drains(args.drains)
    return 0 if clean else 1


def _storm(seed: int, jobs: int, plan: Plan, documents: tuple[int, int]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), seed=seed, jobs=jobs, plan=plan, documents=documents)
    print(line(report), flush=True)
    for wrong in [*report.outcome.wrong, *report.left]:
        print(f"  {wrong}")
    if report.damage.worker_kills < plan.kills:
        print(f"  only {report.damage.worker_kills} of {plan.kills} kills: more jobs are needed")
        return False
    return report.clean


def _drains(times: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        drains = drain(Path(folder), times=times)
    took = f"{statistics.median(drains.exits_s):.1f} s / {max(drains.exits_s):.1f} s"
    print(
        f"{len(drains.exits_s)} drains: gone after {took} (median / slowest); "
        f"{drains.jobs} jobs, {drains.entries} entries, {len(drains.wrong)} wrong",
        flush=True,
    )
    for wrong in drains.wrong:
        print(f"  {wrong}")
    return drains.clean


def line(report: Report) -> str:
    damage, outcome = report.damage, report.outcome
    recoveries = damage.recoveries_s or [0.0]
    recovery = f"{statistics.median(recoveries):.1f} s / {max(recoveries):.1f} s"
    return (
        f"{report.seed:4} {outcome.succeeded:6} {outcome.tasks:6} {outcome.worst_score:12.1e} "
        f"{damage.worker_kills:6} {damage.leases_hit:11} {damage.redis_kills:12} "
        f"{damage.freezes:8} {damage.resets:7} {damage.api_kills:10} {report.redeliveries:13} "
        f"{recovery:>24} {outcome.slowest_s:10.1f} s {len(report.left):5} {report.seconds:8.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
