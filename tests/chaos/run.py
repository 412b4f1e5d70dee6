"""One run: a system, its load, the storm, and what is left when it is over."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis

from rerankq.settings import Settings
from scripts.localsystem import LocalSystem, Start, execute
from tests.chaos.load import Load, Outcome, Texts
from tests.chaos.storm import Damage, Plan, Storm

WORKERS = 3
CLIENTS = 8
RESULT_TTL_S = 45  # a task's message that was lost twice with its publisher comes after 30
EMPTY_WITHIN_S = 120.0
# What stays when every job is over and forgotten: who lives, counters, and the names of jobs.
STAYING = (
    "rerankq:counts",
    "rerankq:idem:",
    "rerankq:jobs:",
    "rerankq:models",
    "rerankq:reclaimed",
    "rerankq:tick",
    "rerankq:tokens:",
    "rerankq:worker",
)


@dataclass
class Report:
    """What a run showed."""

    seed: int
    outcome: Outcome
    damage: Damage
    redeliveries: int
    left: list[str]
    backlog_tokens: int
    api_growth_mb: float
    seconds: float

    @property
    def clean(self) -> bool:
        return not (self.outcome.wrong or self.left or self.backlog_tokens)


def environment() -> dict[str, str]:
    """Of the system's processes: short times, so that a run shows much in little of it."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("RERANKQ_")},
        "RERANKQ_DTYPE": "float32",
        "RERANKQ_LEASE_SECONDS": "5",
        "RERANKQ_RESULT_TTL": str(RESULT_TTL_S),
        "RERANKQ_TOKEN_BUDGET": "2048",  # or each start would measure it for seconds
        "RERANKQ_VISIBILITY_TIMEOUT": "5",
    }


def run(
    folder: Path,
    *,
    seed: int,
    jobs: int,
    plan: Plan,
    documents: tuple[int, int] = (1, 40),
    start: Start = execute,
) -> Report:
    """One storm over `jobs` jobs with so many documents each, from the least to the most."""
    started = time.monotonic()
    system = LocalSystem(folder, workers=WORKERS, apis=2, env=environment(), start=start)
    system.start()
    threading.Thread(target=system.watch, daemon=True).start()
    try:
        texts = Texts(seed)
        texts.score(system.url)
        before = _memory(system)
        settings = Settings(redis_url=system.redis_url, result_ttl=RESULT_TTL_S)
        load = Load(
            system.urls,
            settings,
            texts,
            jobs=jobs,
            documents=documents,
            clients=CLIENTS,
            seed=seed,
        )
        storm = Storm(system, plan, seed=seed)
        weather = threading.Thread(
            target=storm.run, args=(lambda: load.finished / jobs,), daemon=True
        )
        weather.start()
        outcome = load.run()
        weather.join()
        with redis.Redis.from_url(system.redis_url) as ledger:
            left = _left(ledger)
            tokens = sum(_number(ledger, f"rerankq:tokens:{n}") for n in ("interactive", "bulk"))
            redeliveries = _number(ledger, "rerankq:reclaimed")
        growth = _memory(system) - before
    finally:
        system.stop()
    seconds = time.monotonic() - started
    return Report(seed, outcome, storm.damage, redeliveries, left, tokens, growth, seconds)


def _number(ledger: Any, key: str) -> int:
    return int(ledger.get(key) or 0)


def _left(ledger: Any) -> list[str]:
    """Keys that should be gone and are not, once every result's time is over.

    What an API put down when it was killed has ten minutes, and is only asked whether it has them.
    """
    deadline = time.monotonic() + EMPTY_WITHIN_S
    while True:
        names = sorted(key.decode() for key in ledger.scan_iter("rerankq:*", count=1000))
        left = [
            name
            for name in names
            if not name.startswith(STAYING)
            and not (name.startswith("rerankq:stage:") and ledger.pttl(name) > 0)
        ]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


def _memory(system: LocalSystem) -> float:
    """Of the APIs that live, in MB; a fresh process counts as no growth."""
    pids = [c.process.pid for c in system.children if c.name.startswith("api") and c.process]
    return sum(psutil.Process(pid).memory_info().rss for pid in pids) / 1e6
