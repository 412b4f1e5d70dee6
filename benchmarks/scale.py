"""How the queue scales: 1 to 32 worker processes that share one Redis, with simulated devices.

    make scale          (or: python -m benchmarks.scale --workers 1 2 4 8 16 32)

Everything is real but the model: Redis with `appendfsync always`, the API, each worker process with
Celery, ledger and coalescer. A device sleeps for a time proportional to the tokens of its batch
(`--batch-ms` for the whole budget), and tokenizing is slicing; so what a worker's CPU does here is
the queue's own. The load goes straight into the ledger, or with `--apis N` through N API processes.

Prints a table, what held each row back and what one Redis could carry, and writes them to
.bench/scale.md. Exit status 1 if a score is missing or wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import cores, describe
from benchmarks.scaling import load, meters, report
from scripts.localsystem import Child, LocalSystem

ROOT = Path(__file__).resolve().parent.parent
WORKERS = (1, 2, 4, 8, 16, 32)
BUDGET = 16_384  # tokens of a batch; shards are as large by default
AHEAD = 8  # open shards for each worker; it holds two or three
STARTED_AT_ONCE = 4
SETTLE_S = 2.0  # after the start, and after the load has begun


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    rows, wrong = [], []
    for workers in options.workers:
        row, failed = run(workers, options)
        print(f"{workers:3} workers: {row.pairs:,.0f} pairs/s", flush=True)
        rows.append(row)
        wrong += failed
    text = report.whole(rows, _title(options), cores())
    print(f"\n{text}")
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(text + "\n")
    for job_id in wrong:
        print(f"incomplete or wrong: {job_id}", file=sys.stderr)
    return 1 if wrong else 0


def run(workers: int, options: argparse.Namespace) -> tuple[report.Row, list[str]]:
    """One row, and the jobs that did not come back right."""
    with tempfile.TemporaryDirectory() as folder:
        system = LocalSystem(
            Path(folder),
            workers=workers,
            apis=max(1, options.apis),  # one even when idle: it reaps, and reads the fleet
            env=_environment(options),
            worker_module="benchmarks.scaling.worker",
        )
        later = system.children[-workers:]
        del system.children[-workers:]
        system.start()
        try:
            _start(system, later)
            return _measure(system, workers, options)
        finally:
            system.stop()


def _start(system: LocalSystem, workers: Sequence[Child]) -> None:
    """A few at a time: each takes a core for a second or two."""
    for first in range(0, len(workers), STARTED_AT_ONCE):
        group = workers[first : first + STARTED_AT_ONCE]
        for child in group:
            system.spawn(child)
            system.children.append(child)
        while not all(child.ready() for child in group):
            assert all(child.alive for child in group), "a worker ended while it started"
            time.sleep(0.1)


def _measure(
    system: LocalSystem, workers: int, options: argparse.Namespace
) -> tuple[report.Row, list[str]]:
    def submitting() -> load.Submit:
        if options.apis:
            return load.by_http(system.urls)
        return load.into_ledger(system.redis_url)

    jobs = load.variants(options.document_bytes, options.shard_tokens)
    feeder = load.Feeder(system.redis_url, submitting, jobs, AHEAD * (workers + 1))
    meter = meters.Meters(system)
    time.sleep(SETTLE_S)
    idle = _over(meter, min(options.seconds, 5.0))
    feeder.start()
    try:
        time.sleep(SETTLE_S)
        feeder.dry = 0
        use = _over(meter, options.seconds)
        dry = feeder.dry
    finally:
        feeder.stop()
        meter.close()
    token_s = options.batch_ms / 1000 / BUDGET
    return report.Row(workers, token_s, idle, use, dry), feeder.wrong()


def _over(meter: meters.Meters, seconds: float) -> meters.Use:
    before = meter.read()
    time.sleep(seconds)
    return meters.between(before, meter.read())


def _environment(options: argparse.Namespace) -> dict[str, str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RERANKQ_")}
    return inherited | {
        "RERANKQ_MODEL": "simulated",
        "RERANKQ_TOKEN_BUDGET": str(BUDGET),
        "RERANKQ_SHARD_TOKENS": str(options.shard_tokens),
        "RERANKQ_RESULT_TTL": "120",
        "RERANKQ_MAX_BACKLOG": "1000000",
        "RERANKQ_LOG_LEVEL": "warning",
        "SIMULATED_BATCH_MS": str(options.batch_ms),
    }


def _title(options: argparse.Namespace) -> str:
    way = f"through {options.apis} API processes" if options.apis else "straight into the ledger"
    return (
        f"{describe()}; {options.batch_ms:g} ms for a batch of {BUDGET:,} tokens, "
        f"shards of {options.shard_tokens:,}, documents of {options.document_bytes:,} bytes, "
        f"load {way}, {options.seconds:g} s a row; CPU in cores."
    )


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--batch-ms", type=float, default=50.0, help="of a batch of the budget")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured, for each row")
    parser.add_argument("--document-bytes", type=int, default=1024)
    parser.add_argument("--shard-tokens", type=int, default=BUDGET)
    parser.add_argument("--apis", type=int, default=0, help="0: past them")
    parser.add_argument("--output", type=Path, default=ROOT / ".bench" / "scale.md")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
