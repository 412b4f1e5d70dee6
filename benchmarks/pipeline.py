"""What the pipeline costs and what the engine gains, on this machine, with the demo model.

    make bench                          (or: python -m benchmarks.pipeline --rounds 5)

Three ways to score the same jobs, in turn, round after round:
  seed    the reference guide's loop: a job at a time, padded to its longest, logits of the whole
          vocabulary
  engine  ours in this process: all jobs' pairs, planned into batches
  system  ours end to end: HTTP, Redis, Celery's bell, one worker, 16 clients
and then single 10-document jobs on the idle system, less what the worker worked on each.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from benchmarks import prose
from benchmarks.spread import spread
from rerankq import Client
from rerankq.settings import Settings
from scripts.localsystem import LocalSystem
from worker.engine.hosted import HostedEngine, host
from worker.planner import plan

MODEL = "models/demo"
CLIENTS = 16
Job = tuple[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=40)
    args = parser.parse_args()
    jobs = _jobs(args.jobs)
    engine = host(Settings(model=MODEL, device="cpu"))
    with tempfile.TemporaryDirectory() as folder:
        system = LocalSystem(Path(folder), env=dict(os.environ) | {"RERANKQ_MODEL": MODEL})
        system.start()
        try:
            _throughput(jobs, engine, system, args.rounds)
            _latency(system)
        finally:
            system.stop()


def _jobs(count: int) -> list[Job]:
    rng = random.Random(1)
    return [(prose.query(rng), prose.documents(rng, rng.randint(20, 100))) for _ in range(count)]


def _throughput(jobs: list[Job], engine: HostedEngine, system: LocalSystem, rounds: int) -> None:
    pairs = sum(len(documents) for _, documents in jobs)
    seed = SeedLoop()
    ways: dict[str, Callable[[], None]] = {
        "seed": lambda: [seed(job) for job in jobs] and None,
        "engine": lambda: in_process(engine, jobs),
        "system": lambda: through_the_system(system, jobs),
    }
    for way in ways.values():
        way()  # warm
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            rates[name].append(pairs / (time.perf_counter() - started))
    print(f"{pairs} pairs in {len(jobs)} jobs, {rounds} rounds; pairs/s: median (min to max)")
    for name, values in rates.items():
        print(f"  {name:7} {spread(values, '.0f')}")
    for a, b in (("engine", "seed"), ("system", "engine"), ("system", "seed")):
        ratios = [x / y for x, y in zip(rates[a], rates[b], strict=True)]
        print(f"  {a} / {b}: {spread(ratios, '.2f')}")


def in_process(engine: HostedEngine, jobs: list[Job]) -> None:
    waiting = [pair for job in jobs for pair in engine.encode(job[0], None, job[1])]
    profile = engine.profile
    while waiting:
        chosen = set(plan(waiting, profile.token_budget, profile.layout))
        engine.prepare([waiting[i] for i in chosen])()
        waiting = [pair for i, pair in enumerate(waiting) if i not in chosen]


def through_the_system(system: LocalSystem, jobs: list[Job]) -> None:
    def client_of(number: int) -> None:
        with Client(system.url) as client:
            for query, documents in jobs[number::CLIENTS]:
                client.rerank(query, documents)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client_of, range(CLIENTS)))


class SeedLoop:
    """The reference guide's way, but with the no token where it has the yes token twice."""

    def __init__(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.torch = torch
        self.tokenizer = AutoTokenizer.from_pretrained(MODEL, padding_side="left")
        self.model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
        self.yes, self.no = (self.tokenizer.convert_tokens_to_ids(w) for w in ("yes", "no"))

    def __call__(self, job: Job) -> None:
        from tests.reference import DEFAULT, PREFIX, SUFFIX

        query, documents = job
        texts = [
            f"{PREFIX}<Instruct>: {DEFAULT}\n<Query>: {query}\n<Document>: {document}{SUFFIX}"
            for document in documents
        ]
        inputs = self.tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        with self.torch.inference_mode():
            last = self.model(**inputs).logits[:, -1, :]
            self.torch.softmax(last[:, [self.no, self.yes]], dim=1)[:, 1].tolist()


def _latency(system: LocalSystem, count: int = 60) -> None:
    """What a job spends outside tokenizing and the forward pass, by the worker's own clocks."""
    probe = str(system.child("worker-1").probe)
    whole, outside = [], []
    with Client(system.url) as client:
        for query, documents in _jobs(count):
            before = _working_s(probe)
            started = time.perf_counter()
            client.wait(client.submit(query, documents[:10]).id)
            whole.append(1000 * (time.perf_counter() - started))
            outside.append(whole[-1] - 1000 * (_working_s(probe) - before))
    print(
        f"{count} jobs of 10 documents, one at a time on the idle system; ms: median (min to max)"
    )
    print(f"  from submit to ranking (two requests)   {spread(whole, '.1f')}")
    print(f"  of which not tokenizing and not forward {spread(outside, '.1f')}")


def _working_s(probe: str) -> float:
    text = httpx.get(f"{probe}/metrics").text
    names = ("rerankq_forward_seconds_sum", "rerankq_tokenize_seconds_sum")
    found = [re.search(rf"^{name} (\S+)", text, re.MULTILINE) for name in names]
    return sum(float(match[1]) for match in found if match)


if __name__ == "__main__":
    main()
