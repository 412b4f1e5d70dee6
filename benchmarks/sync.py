"""Many synchronous callers of one API process, and a plain server beside it on the same weights.

    python -m benchmarks.sync                        (all parts, a quarter of an hour)
    python -m benchmarks.sync --parts load peer --seconds 20

Requests of 10 documents to `/v1/rerank`, each with a query of its own, from callers that send the
next one when the last is answered. The parts:

  idle   one request at a time: what it takes beyond tokenizing and the forward pass, by the
         worker's own clocks
  load   16 and 500 callers: statuses, requests/s beside the in-process engine's on the same jobs,
         the API's CPU and memory, and how long `/livez` waits beside a bare asyncio server and a
         bare asyncio sleeper
  apart  the same where the worker, and the engine it is compared with, have half of the cores to
         themselves and all else has the others, as pods have cores of their own
  front  the same with a simulated device that is never the limit: requests/s of a core of the API
  peer   FastAPI and sentence-transformers' CrossEncoder by their defaults, and ours again

The demo model in float32 on the CPU. Callers and probes have processes of their own, on the
same cores as all else.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import bare, environments, machine, pipeline, prose, shapes
from benchmarks.contenders import InProcess, engine
from benchmarks.memory import Memory
from benchmarks.spread import spread
from benchmarks.syncing import plain, run
from benchmarks.syncing.load import DOCUMENTS
from benchmarks.texts import Job
from benchmarks.verdicts import Verdicts
from scripts.localsystem import LocalSystem, Start, execute

PARTS = ("idle", "load", "apart", "front", "peer")
CLIENTS = (16, 500)
SINGLES = 60
ENGINE_JOBS = 150
OUTSIDE_MS = 15.0
LEAST_OF_ENGINE = 0.9
MOST_OF_BARE = 3.0
MOST_GROWTH_MB = 8.0
LEAST_OF_PLAIN = 3.0
FULL_CORE = 0.9
SIMULATED = {
    "RERANKQ_MODEL": "simulated",
    "RERANKQ_TOKEN_BUDGET": "65536",
    "SIMULATED_BATCH_MS": "10",
    "RERANKQ_LOG_LEVEL": "info",
}


def main() -> int:
    args = _arguments()
    verdicts = Verdicts()
    print(f"{machine.describe()}; {args.seconds:g} s a load", flush=True)
    if {"idle", "load"} & set(args.parts):
        with _System() as system:
            if "idle" in args.parts:
                idle(system, verdicts)
            if "load" in args.parts:
                load(system, args.seconds, verdicts)
    if "apart" in args.parts:
        apart(args.seconds, verdicts)
    if "front" in args.parts:
        front(args.seconds)
    if "peer" in args.parts:
        peer(args.seconds, verdicts)
    return verdicts.code


def idle(system: LocalSystem, verdicts: Verdicts) -> None:
    whole, outside = pipeline.synchronous(system, _jobs(SINGLES))
    print(f"idle: {SINGLES} requests one at a time; ms: median (min to max)")
    print(f"  whole {spread(whole, '.1f')}")
    middle = statistics.median(outside)
    verdicts.judge(
        middle <= OUTSIDE_MS,
        f"idle: {spread(outside, '.1f')} ms beyond tokenizing and forward, bound {OUTSIDE_MS:g}",
    )


def apart(seconds: float, verdicts: Verdicts) -> None:
    """Raises: SystemExit: there is one core."""
    cores = sorted(os.sched_getaffinity(0))
    worker, rest = set(cores[: len(cores) // 2]), set(cores[len(cores) // 2 :])
    if not worker:
        raise SystemExit("apart: needs two cores")

    def start(command: list[str], *others: Any) -> subprocess.Popen[bytes]:
        with _on(worker if command[-1] == "worker" else rest):
            return execute(command, *others)

    print(f"apart: {len(worker)} for the worker, {len(rest)} for all else")
    with _on(worker):
        alone = engine(shapes.directory(shapes.DEMO_SHAPE), "float32")
    with _on(rest), _System(start=start) as system:
        _loads(system, alone, seconds, verdicts)


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """What is started within runs on these."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def load(system: LocalSystem, seconds: float, verdicts: Verdicts) -> None:
    _loads(system, engine(shapes.directory(shapes.DEMO_SHAPE), "float32"), seconds, verdicts)


def _loads(system: LocalSystem, alone: InProcess, seconds: float, verdicts: Verdicts) -> None:
    jobs = _jobs(ENGINE_JOBS)
    try:
        alone.tune(jobs)
        for clients in CLIENTS:
            before = len(jobs) / alone.score(jobs).seconds
            _one_load(system, clients, seconds, before, verdicts)
    finally:
        alone.close()


def _one_load(
    system: LocalSystem, clients: int, seconds: float, of_engine: float, verdicts: Verdicts
) -> None:
    memory = Memory(system, 0.5)
    with bare.served(0.001) as url:
        memory.start()
        seen = run.load(system, clients, seconds, probed=[url])
        memory.stop()
        late = run.lateness(url)
    print(f"load: {seen.line()}", flush=True)
    refused = {status for status in seen.outcome.statuses if status != "200"} - {"429", "503"}
    verdicts.judge(not refused, f"load: {clients} callers, all answered or refused properly")
    verdicts.judge(
        seen.rate >= LEAST_OF_ENGINE * of_engine,
        f"load: {seen.rate:.1f} requests/s, the engine in-process {of_engine:.1f}: "
        f"{seen.rate / of_engine:.2f}, bound {LEAST_OF_ENGINE:g}",
    )
    growth = memory.series["api"].growth
    held = ", ".join(f"{memory.series['api'].quarter(n):.1f}" for n in (1, 2, 3, 4))
    verdicts.judge(
        growth <= MOST_GROWTH_MB, f"load: the API holds {held} MB by quarter of the time"
    )
    livez, of_bare = seen.pulses
    p99s = [1000 * run.p99(values) for values in (livez, of_bare, late)]
    verdicts.judge(
        p99s[0] <= MOST_OF_BARE * p99s[2],
        f"load: p99 of /livez {p99s[0]:.1f} ms, of a bare server {p99s[1]:.1f} ms, of a sleeper "
        f"late by {p99s[2]:.1f} ms; medians "
        + ", ".join(f"{1000 * statistics.median(v):.2f}" for v in (livez, of_bare, late)),
    )


def front(seconds: float) -> None:
    """The worker scores nothing, so that the API is what there is to wait for."""
    with _System("benchmarks.scaling.worker", SIMULATED) as system:
        for clients in CLIENTS:
            seen = run.load(system, clients, seconds)
            each = seen.api_cpu_s / seen.answered
            print(f"front: {seen.line()}")
            print(
                f"front: {1000 * each:.2f} ms of CPU a request: {FULL_CORE / each:,.0f} requests/s "
                f"at {FULL_CORE:.0%} of a core",
                flush=True,
            )


def peer(seconds: float, verdicts: Verdicts) -> None:
    python = environments.python_of("crossencoder")
    verdicts.judge(python is not None, "peer: sentence-transformers can be installed")
    if python is None:
        return
    for clients in CLIENTS:
        with plain.served(python, shapes.directory(shapes.DEMO_SHAPE)) as url:
            theirs = run.load_of(url, clients, seconds)
        print(f"peer: FastAPI + CrossEncoder: {run.told(theirs, clients)}", flush=True)
        with _System() as system:
            ours = run.load(system, clients, seconds)
        print(f"peer: {ours.line()}")
        rate = run.rate(theirs)
        times = f"{ours.rate / rate:.2f} times its" if rate else "times the none of its"
        verdicts.judge(
            ours.rate >= LEAST_OF_PLAIN * rate,
            f"peer: {clients} callers, {times} requests/s, bound {LEAST_OF_PLAIN:g}",
        )


class _System(LocalSystem):
    """A system of its own, stopped at the end of the block."""

    def __init__(
        self,
        worker_module: str = "worker",
        variables: Mapping[str, str] | None = None,
        start: Start = execute,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory()
        model = {"RERANKQ_MODEL": str(shapes.DEMO), "RERANKQ_DTYPE": "float32"}
        env = {k: v for k, v in machine.environment().items() if not k.startswith("RERANKQ_")}
        env |= model | dict(variables or {})
        super().__init__(
            Path(self._temporary.name), env=env, worker_module=worker_module, start=start
        )

    def __enter__(self) -> LocalSystem:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._temporary.cleanup()


def _jobs(count: int) -> list[Job]:
    rng = random.Random(4)
    return [(prose.query(rng), prose.documents(rng, DOCUMENTS)) for _ in range(count)]


def _arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each load")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
