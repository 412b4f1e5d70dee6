"""Ours beside its peers and beside what the CPU could do, in turn, in one run.

    make bench                          (or: python -m benchmarks.compare --rounds 5)
    python -m benchmarks.compare --quick --shapes minilm-l6

The same weights, texts and number of threads for all. The contenders:
  seed loop         the reference guide's: a job at a time, padded to its longest, the logits of
                    the whole vocabulary for every token
  CrossEncoder      sentence-transformers', in its own environment, at its fastest batch size
  infinity, HTTP    its server, in its own environment, at its fastest batch size (classifiers only)
  rerankq's engine  in-process, planned into batches as a worker does
  rerankq, HTTP     the whole: HTTP, Redis, one worker
  limit             the operations the pairs need (unpadded, a shared prefix once) at the best rate
                    of the CPU's matrix products for the model's layers, measured in every round
Then the queue's own cost (`benchmarks.pipeline`). What was measured goes to .bench/results.json and
.bench/results.md, the chart to docs/bench.png (with --quick: to .bench/). Exit status 1 if a
peer was left out, or if scores differ by more than 1e-4 in float32.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks import environments, machine, pipeline
from benchmarks.case import WORKLOADS, Case, Result
from benchmarks.shapes import QWEN3_512, ROOT, SHAPES
from benchmarks.tables import table
from benchmarks.verdicts import Verdicts

OUTPUT = ROOT / ".bench"
CHART = ROOT / "docs" / "bench.png"
MOST_DEVIATION = 1e-4  # in probability, float32
QUICK_FRACTION = 8


def main() -> int:
    args = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the contenders end with us
    rounds, fraction = (1, QUICK_FRACTION) if args.quick else (args.rounds, args.fraction)
    peers = {name: environments.python_of(name) for name in environments.NAMES}
    verdicts = Verdicts()
    results: list[Result] = []
    print(f"{machine.describe()}; every contender has {machine.cores()} threads\n", flush=True)
    for dtype in _dtypes():
        for name in args.shapes:
            for result in Case(SHAPES[name], dtype, rounds, fraction, peers).run(args.workloads):
                print(table(result), flush=True)
                _judge(result, verdicts)
                results.append(result)
    _keep(results)
    if peers["crossencoder"]:
        _draw(peers["crossencoder"], OUTPUT / CHART.name if args.quick else CHART)
    verdicts.judge(all(peers.values()), "every peer could be installed")
    if args.queue_jobs:
        jobs = 2 if args.quick else args.queue_jobs
        pipeline.measure(QWEN3_512, rounds=rounds, jobs=jobs, singles=10 * rounds)
    return verdicts.code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fraction", type=int, default=1, help="so many times fewer documents")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--queue-jobs", type=int, default=16, help="0: without the queue's cost")
    parser.add_argument("--quick", action="store_true", help="one round of few documents")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    return parser.parse_args()


def _dtypes() -> list[str]:
    missing = machine.bfloat16_missing()
    if missing:
        print(missing)
        return ["float32"]
    return ["float32", "bfloat16"]


def _judge(result: Result, verdicts: Verdicts) -> None:
    if result.dtype != "float32":
        return
    name, worst = max(result.deviation.items(), key=lambda item: item[1])
    verdicts.judge(
        worst <= MOST_DEVIATION, f"scores agree: {name} is off by {worst:.1e}, at most 1e-4\n"
    )


def _keep(results: list[Result]) -> None:
    whole = {"machine": machine.describe(), "results": [dataclasses.asdict(r) for r in results]}
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / "results.json").write_text(json.dumps(whole, indent=1) + "\n")
    (OUTPUT / "results.md").write_text("\n".join(table(result) for result in results))


def _draw(python: Path, target: Path) -> None:
    line = [str(python), "-m", "benchmarks.chart", str(OUTPUT / "results.json"), str(target)]
    subprocess.run(line, cwd=ROOT, check=True)
    print(f"chart: {target.relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
