"""Workers told to stop under saturation, again and again: gone in seconds, nothing redone."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from rerankq import Client, JobStatus
from scripts.localsystem import Child, LocalSystem, Start, execute
from tests.chaos.load import WORDS
from tests.chaos.run import environment

WORKERS = 2
BACKLOG = 12  # shards that wait at least, while workers are told to stop
GONE_WITHIN_S = 5.0  # or a batch, which on a CPU takes a fraction of that
PATIENCE_S = 120.0


@dataclass
class Drains:
    """What came of them."""

    exits_s: list[float] = field(default_factory=list)
    jobs: int = 0
    entries: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not self.wrong and max(self.exits_s) <= GONE_WITHIN_S


def drain(folder: Path, *, times: int, seed: int = 1, start: Start = execute) -> Drains:
    """Stop a worker that holds work `times` times, and check every job and every entry."""
    logs = {"RERANKQ_LOG_LEVEL": "debug", "RERANKQ_LOG_FORMAT": "json"}
    env = environment() | logs | {"RERANKQ_RESULT_TTL": "3600"}  # all are judged at the end
    system = LocalSystem(folder, workers=WORKERS, env=env, start=start)
    system.start()
    threading.Thread(target=system.watch, daemon=True).start()
    rng, drains, jobs = random.Random(seed), Drains(), list[str]()
    try:
        with Client(system.url) as client, redis.Redis.from_url(system.redis_url) as ledger:
            for _ in range(times):
                _saturate(client, jobs, rng)
                _stop_one(system, ledger, drains)
            for job_id in jobs:
                _judge(client, job_id, drains)
            if int(ledger.get("rerankq:reclaimed") or 0):
                drains.wrong.append("a loss was counted")
    finally:
        system.stop()
    drains.jobs = len(jobs)
    _judge_logs(folder, drains)
    return drains


def _saturate(client: Client, jobs: list[str], rng: random.Random) -> None:
    while client.queue().lanes["bulk"].waiting < BACKLOG:
        documents = [" ".join(rng.choices(WORDS, k=rng.randint(5, 40))) for _ in range(150)]
        jobs.append(client.submit(f"drain {len(jobs)}", documents, lane="bulk").id)


def _stop_one(system: LocalSystem, ledger: Any, drains: Drains) -> None:
    """The next worker that is ready and holds work."""
    deadline = time.monotonic() + PATIENCE_S
    while (child := _busy(system, ledger)) is None:
        if time.monotonic() > deadline:
            drains.wrong.append("no worker holds work")
            return
        time.sleep(0.02)
    process, began = child.process, time.monotonic()
    assert process is not None
    process.send_signal(signal.SIGTERM)
    code = process.wait(PATIENCE_S)
    drains.exits_s.append(time.monotonic() - began)
    if code != 0:
        drains.wrong.append(f"{child.name} ended with {code}")


def _busy(system: LocalSystem, ledger: Any) -> Child | None:
    pids = {
        int(ledger.hget(b"rerankq:worker:" + owner, "pid") or 0)
        for owner in set(ledger.hvals("rerankq:owner"))
    }
    for child in system.children:
        if child.process and child.process.pid in pids and child.alive:
            return child
    return None


def _judge(client: Client, job_id: str, drains: Drains) -> None:
    job = client.wait(job_id, PATIENCE_S)
    if job.status is not JobStatus.SUCCEEDED:
        drains.wrong.append(f"{job_id} {job.status}")
    elif job.progress.scored != job.progress.total:
        drains.wrong.append(f"{job_id}: {job.progress.scored} scored of {job.progress.total}")


def _judge_logs(folder: Path, drains: Drains) -> None:
    """By what the workers say, each entry was scored to its end once."""
    scored: Counter[str] = Counter()
    for log in (folder / "logs").glob("worker-*.log"):
        for line in log.read_text().splitlines():
            if '"scored"' in line:
                scored[json.loads(line)["entry"]] += 1
    drains.entries = len(scored)
    twice = [entry for entry, count in scored.items() if count > 1]
    if twice:
        drains.wrong.append(f"scored twice: {twice}")
