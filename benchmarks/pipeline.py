"""What the queue costs, on this machine, with a model of one shape.

    python -m benchmarks.pipeline --rounds 5                        (the demo model)
    python -m benchmarks.pipeline --shape qwen3-512 --rounds 5

Two ways to score the same jobs of 20 to 100 documents, in turn, round after round:
  rerankq's engine  ours in-process: all jobs' pairs, planned into batches
  rerankq, HTTP     ours end to end: HTTP, Redis, one worker, 16 clients
and then single 10-document jobs on the idle system, less what the worker worked on each.
"""

from __future__ import annotations

import argparse
import random
import re
import time

import httpx

from benchmarks import prose, shapes
from benchmarks.contenders import Contender, System, engine
from benchmarks.shapes import DEMO_SHAPE, SHAPES, Shape
from benchmarks.spread import spread
from benchmarks.texts import Job
from rerankq import Client
from scripts.localsystem import LocalSystem

RATIOS = (("rerankq, HTTP", "rerankq's engine"),)


def main() -> None:
    named = {DEMO_SHAPE.name: DEMO_SHAPE} | SHAPES
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--singles", type=int, default=60, help="jobs of 10 documents")
    parser.add_argument("--shape", choices=named, default=DEMO_SHAPE.name)
    args = parser.parse_args()
    measure(named[args.shape], rounds=args.rounds, jobs=args.jobs, singles=args.singles)


def measure(shape: Shape, *, rounds: int, jobs: int, singles: int) -> None:
    """Print pairs/s and ratios of `jobs` jobs, and the times of `singles` single ones."""
    model = shapes.directory(shape)
    ours, system = (make(model, "float32") for make in (engine, System))
    print(f"the queue's cost, {shape.name}, float32")
    try:
        _throughput(_jobs(jobs), [ours, system], rounds)
        latency(system, _jobs(singles))
    finally:
        for contender in (ours, system):
            contender.close()


def _jobs(count: int) -> list[Job]:
    rng = random.Random(1)
    return [(prose.query(rng), prose.documents(rng, rng.randint(20, 100))) for _ in range(count)]


def _throughput(jobs: list[Job], ways: list[Contender], rounds: int) -> None:
    pairs = sum(len(documents) for _, documents in jobs)
    for way in ways:
        way.tune(jobs)  # warm
    rates: dict[str, list[float]] = {way.name: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            rates[way.name].append(pairs / way.score(jobs).seconds)
    print(f"{pairs} pairs in {len(jobs)} jobs, {rounds} rounds; pairs/s: median (min to max)")
    for name, values in rates.items():
        print(f"  {name:16} {spread(values, '.3g')}")
    for a, b in RATIOS:
        ratios = [x / y for x, y in zip(rates[a], rates[b], strict=True)]
        print(f"  {a} / {b}: {spread(ratios, '.2f')}", flush=True)


def latency(system: System, jobs: list[Job]) -> None:
    """What a job spends outside tokenizing and the forward pass, by the worker's own clocks."""
    probe = str(system.local.child("worker-1").probe)
    whole, outside = [], []
    with Client(system.local.url) as client:
        for query, documents in jobs:
            before = _working_s(probe)
            started = time.perf_counter()
            client.wait(client.submit(query, documents[:10]).id)
            whole.append(1000 * (time.perf_counter() - started))
            outside.append(whole[-1] - 1000 * (_working_s(probe) - before))
    print(f"{len(jobs)} jobs of 10 documents, one at a time on the idle system; ms, as above")
    print(f"  from submit to ranking (two requests)   {spread(whole, '.1f')}")
    print(f"  of which not tokenizing and not forward {spread(outside, '.1f')}", flush=True)


def synchronous(local: LocalSystem, jobs: list[Job]) -> tuple[list[float], list[float]]:
    """The same for single synchronous requests: ms of each, whole and outside."""
    probe = str(local.child("worker-1").probe)
    whole, outside = [], []
    with httpx.Client(base_url=local.url, timeout=60) as http:
        for query, documents in jobs:
            before = _working_s(probe)
            started = time.perf_counter()
            http.post("/v1/rerank", json={"query": query, "documents": documents[:10]})
            whole.append(1000 * (time.perf_counter() - started))
            outside.append(whole[-1] - 1000 * (_working_s(probe) - before))
    return whole, outside


def _working_s(probe: str) -> float:
    text = httpx.get(f"{probe}/metrics").text
    names = ("rerankq_forward_seconds_sum", "rerankq_tokenize_seconds_sum")
    found = [re.search(rf"^{name} (\S+)", text, re.MULTILINE) for name in names]
    return sum(float(match[1]) for match in found if match)


if __name__ == "__main__":
    main()
