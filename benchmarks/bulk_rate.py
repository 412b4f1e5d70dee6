"""What `rerankq bulk` costs beside the engine alone, and what it gains over a loop of requests.

    python -m benchmarks.bulk_rate --pairs 48000 --rounds 2

The same records of the same file with the demo model in float32, in turn, round after round:
  rerankq's engine  in-process: the file is read, all pairs are planned into batches
  rerankq bulk      the command from its start to its end: plan, chunks, merge; Redis, one worker
  CrossEncoder loop one request a record, one after the other, to a FastAPI server that calls
                    sentence-transformers' `CrossEncoder.predict`, all with their defaults; a
                    tenth of the records, since it is slow

Engine and worker find their token budgets by trials of their own; `--budget` gives one to both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import httpx

from benchmarks import environments, machine, shapes
from benchmarks.bulk import COMMAND, DOCUMENTS, records
from benchmarks.contenders import InProcess, engine
from benchmarks.shapes import DEMO_SHAPE
from benchmarks.spread import spread
from benchmarks.syncing.plain import served
from benchmarks.texts import Job
from scripts.localsystem import LocalSystem

TENTH = 10
ENGINE, BULK, LOOP = "rerankq's engine", "rerankq bulk", "CrossEncoder loop"
RATIOS = ((BULK, ENGINE), (BULK, LOOP))
Ways = dict[str, Callable[[], float]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=9_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget", type=int)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), args.pairs, args.rounds, args.budget)


def _measure(folder: Path, pairs: int, rounds: int, budget: int | None) -> None:
    model = shapes.directory(DEMO_SHAPE)
    given = folder / "in.jsonl"
    with given.open("w") as file:
        file.writelines(json.dumps(one) + "\n" for one in records(pairs // DOCUMENTS))
    variables = {"RERANKQ_MODEL": str(model), "RERANKQ_DTYPE": "float32", "RERANKQ_DEVICE": "cpu"}
    if budget is not None:
        variables["RERANKQ_TOKEN_BUDGET"] = str(budget)
    system = LocalSystem(folder / "run", workers=1, env=machine.environment() | variables)
    python = environments.python_of("crossencoder")
    with ExitStack() as until_end:
        ours = engine(model, "float32", budget)
        until_end.callback(ours.close)
        system.start()
        until_end.callback(system.stop)
        ways: Ways = {
            ENGINE: lambda: _in_process(ours, given),
            BULK: lambda: _command(system, given),
        }
        if python is not None:
            url = until_end.enter_context(served(python, model))
            ways[LOOP] = lambda: _loop(url, given)
        _rounds(ways, rounds)


def _rounds(ways: Ways, rounds: int) -> None:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first one warms up
        for name, measure in ways.items():
            rate = measure()
            print(f"  {name}: {rate:.0f} pairs/s{'' if number else ', to warm up'}", flush=True)
            if number:
                rates[name].append(rate)
    print(f"{rounds} rounds; pairs/s: median (min to max)")
    for name, values in rates.items():
        print(f"  {name:17} {spread(values, '.3g')}")
    for a, b in RATIOS:
        if b in rates:
            ratios = [x / y for x, y in zip(rates[a], rates[b], strict=True)]
            print(f"  {a} / {b}: {spread(ratios, '.2f')}", flush=True)


def _jobs(given: Path) -> list[Job]:
    with given.open() as file:
        found = [json.loads(line) for line in file]
    return [(one["query"], one["documents"]) for one in found]


def _rate(jobs: Iterable[Job], seconds: float) -> float:
    return sum(len(documents) for _, documents in jobs) / seconds


def _in_process(ours: InProcess, given: Path) -> float:
    started = time.perf_counter()
    jobs = _jobs(given)
    reading = time.perf_counter() - started
    return _rate(jobs, reading + ours.score(jobs).seconds)


def _command(system: LocalSystem, given: Path) -> float:
    own = {name: text for name, text in os.environ.items() if not name.startswith("RERANKQ_")}
    variables = {
        "RERANKQ_REDIS_URL": system.redis_url,
        "RERANKQ_MODEL": str(shapes.directory(DEMO_SHAPE)),
    }
    line = [*COMMAND, "bulk", str(given), str(given.with_name("out.jsonl")), "--quiet", "--force"]
    started = time.perf_counter()
    subprocess.run(line, env=own | variables, check=True)
    return _rate(_jobs(given), time.perf_counter() - started)


def _loop(url: str, given: Path) -> float:
    jobs = _jobs(given)[::TENTH]
    with httpx.Client(timeout=600) as client:
        started = time.perf_counter()
        for query, documents in jobs:
            body = {"query": query, "documents": documents}
            client.post(f"{url}/v1/rerank", json=body).raise_for_status()
        return _rate(jobs, time.perf_counter() - started)


if __name__ == "__main__":
    main()
