"""`make fuzz`: a line for each call; exits 1, with a curl for each, if any answer was wrong."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz.run import Report, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(Path(folder), seed=args.seed, cases=args.cases)
    print(table(report))
    for failure in report.failures.values():
        print(f"\n{failure.call}, {failure.times} times: {failure.reason}\n  {failure.curl}")
    for left in report.left:
        print(f"\n{left}")
    return 0 if report.clean else 1


def table(report: Report) -> str:
    width = max(map(len, report.statuses))
    lines = [f"{'call':{width}}  cases  statuses"]
    for call, counts in report.statuses.items():
        statuses = "  ".join(f"{status}: {n}" for status, n in sorted(counts.items()))
        lines.append(f"{call:{width}} {counts.total():6}  {statuses}")
    before, after = report.memory_mb
    lines.append(
        f"{'all':{width}} {report.cases:6}  seed {report.seed}, {report.seconds:.0f} s, "
        f"API {before:.0f} MB before, {after:.0f} MB after, "
        f"{sum(f.times for f in report.failures.values())} failures"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
