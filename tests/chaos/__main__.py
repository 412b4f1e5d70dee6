"""`make chaos`: one run a seed, a line each; exits 1 if anything was lost, wrong or left over."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Report, run
from tests.chaos.storm import Plan

HEAD = (
    "seed   jobs  tasks  worst score  kills  leases hit  redis kills  freezes  resets  api kills  "
    "redeliveries  recovery median/slowest  slowest job  left  seconds"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=30)
    args = parser.parse_args()
    print(HEAD, flush=True)
    clean = True
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            report = run(Path(folder), seed=seed, jobs=args.jobs, plan=Plan(kills=args.kills))
        print(line(report), flush=True)
        for wrong in [*report.outcome.wrong, *report.left]:
            print(f"  {wrong}")
        clean = clean and report.clean
    return 0 if clean else 1


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
