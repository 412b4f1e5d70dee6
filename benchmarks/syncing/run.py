"""One load on one server: what was answered, and what the API and Redis did for it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.syncing.load import BETWEEN_CONNECTS_S, MOST_CONNECTS, Outcome
from scripts.localsystem import LocalSystem

ROOT = Path(__file__).resolve().parents[2]
WARM_UP_S = 5.0  # after all have connected
PLAIN_WARM_UP_S = 20.0  # forty requests at once take each other's time until the first is answered


@dataclass(frozen=True)
class Seen:
    """A load on ours.

    Attributes:
        api_cpu_s: while requests were counted.
        pulses: seconds of each probe, of the API and then of the others.
    """

    clients: int
    outcome: Outcome
    api_cpu_s: float
    pulses: list[list[float]]

    @property
    def answered(self) -> int:
        return self.outcome.statuses["200"]

    @property
    def rate(self) -> float:
        return rate(self.outcome)

    def line(self) -> str:
        share = self.api_cpu_s / self.outcome.seconds
        return f"ours: {told(self.outcome, self.clients)}; API at {share:.0%} of a core"


def load(system: LocalSystem, clients: int, seconds: float, probed: Sequence[str] = ()) -> Seen:
    """Args: probed: further servers whose `/livez` is asked in the same rhythm."""
    process = system.child("api").process
    assert process is not None
    api = psutil.Process(process.pid)
    caller = _start("load", system.url, str(clients), str(seconds), str(WARM_UP_S))
    time.sleep(WARM_UP_S + clients / MOST_CONNECTS * BETWEEN_CONNECTS_S)
    before = _cpu_s(api)
    pulse = _start("pulse", str(seconds), system.url, *probed)
    time.sleep(seconds)
    cpu_s = _cpu_s(api) - before
    return Seen(clients, _outcome(_said(caller)), cpu_s, _said(pulse))


def load_of(url: str, clients: int, seconds: float) -> Outcome:
    """The same on any server that answers `/v1/rerank`."""
    return _outcome(_said(_start("load", url, str(clients), str(seconds), str(PLAIN_WARM_UP_S))))


def rate(outcome: Outcome) -> float:
    """Rankings a second."""
    return outcome.statuses["200"] / outcome.seconds


def told(outcome: Outcome, clients: int) -> str:
    latencies = sorted(outcome.latencies) or [float("nan")]
    statuses = ", ".join(f"{status} x {n}" for status, n in sorted(outcome.statuses.items()))
    return (
        f"{clients} callers, {rate(outcome):.1f} requests/s ({statuses}), "
        f"p50 {latencies[len(latencies) // 2]:.2f} s, p99 {p99(latencies):.2f} s"
    )


def p99(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.99 * len(values)))]


def lateness(url: str) -> list[float]:
    """Seconds by which the bare server's sleeper was late since it was last asked."""
    with urllib.request.urlopen(f"{url}/late", timeout=10) as answer:  # noqa: S310
        found: list[float] = json.load(answer)
    return found


def _start(module: str, *arguments: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", f"benchmarks.syncing.{module}", *arguments]
    return subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _said(process: subprocess.Popen[str]) -> Any:
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(said)


def _outcome(raw: dict[str, Any]) -> Outcome:
    return Outcome(raw["seconds"], Counter(raw["statuses"]), raw["latencies"])


def _cpu_s(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    return float(sum(sum(each.cpu_times()[:2]) for each in family))
