"""The service while its Redis is frozen (SIGSTOP), and what it accepted before that.

    python -m benchmarks.frozen --rounds 5 --seconds 20

Each round submits jobs, more than the worker can finish, freezes Redis while they are open, and
meanwhile: 16 clients POST jobs, at random moments within a second of the last answer (as a client
with any back-off does; in step they would measure their own burst of 3 ms each on the one loop), 4
wait for open jobs (`?wait=5`), one asks, in turn and each over one open connection, `/livez` and
a bare asyncio server in a process of its own. Then Redis goes on, and every job that was ever
answered 202 must succeed.

`/livez` is held against that server and not against the lateness of a sleeper alone: its answer has
two changes of process and HTTP in it, which a sleep does not have, and the same client measures
both. A sleeper on the bare server's loop is printed beside it: what this machine does to any loop.
Both processes compete with the same load, and are asked in turn, so a busy moment hits both. The
bounds; exit status 1 if any of them is broken:

  /livez    its p99 is at most 3 times the bare server's (median of the rounds) and at most 250 ms
            (every round)
  POST      every one that began and ended with Redis frozen is a 503 with `Retry-After`; the
            slowest of all took less than 4 s
  wait      a long poll is answered with the job or with 503 and `Retry-After`, within its 5 s and
            those 4 s
  jobs      none that was accepted is lost
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import bare, prose
from benchmarks.callers import Call, Callers, Polling, Pulse, submitting
from benchmarks.spread import spread
from benchmarks.verdicts import Verdicts
from rerankq import Client, JobNotFinished, JobStatus, NotFound
from scripts.localsystem import LocalSystem

JOBS = 120  # of 20 documents: some 20 s of work
POSTERS = 16
POLLERS = 4
WAIT_S = 5.0
LEAD_S = 1.0  # of the load, before the freeze
PULSE_EVERY_S = 0.0125  # of both together: 40 a second each, so that a p99 is not the slowest
TIMES_BARE = 3.0
LIVEZ_MS = 250.0
ANSWERED_WITHIN_S = 4.0
DONE_WITHIN_S = 300.0
STATUSES = (200, 202, 503)


@dataclass
class Round:
    """What one freeze showed; seconds throughout."""

    livez: list[float]
    bare: list[float]
    late: list[float]
    posts: list[Call]
    polls: list[Call]
    frozen: tuple[float, float]
    accepted: list[str]

    @property
    def ratio(self) -> float:
        return p99(self.livez) / p99(self.bare)

    def within(self, calls: Sequence[Call]) -> list[Call]:
        """Those that met a frozen Redis from beginning to end."""
        began, ended = self.frozen
        return [c for c in calls if began <= c.began and c.began + c.took <= ended]

    def met(self, calls: Sequence[Call]) -> list[Call]:
        """Those of which some part fell into the freeze."""
        began, ended = self.frozen
        return [c for c in calls if c.began <= ended and c.began + c.took >= began]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20, help="Redis is frozen, each round")
    args = parser.parse_args()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RERANKQ_")}
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory() as folder, bare.served() as bare_url:
        system = LocalSystem(Path(folder), env=environment)
        system.start()
        try:
            rounds = []
            for number in range(1, args.rounds + 1):
                rounds.append(freeze(system, bare_url, args.seconds))
                show(number, rounds[-1])
                account(system.url, rounds[-1].accepted, verdicts)
        finally:
            system.stop()
    judge(rounds, verdicts)
    return verdicts.code


def freeze(system: LocalSystem, bare_url: str, seconds: float) -> Round:
    process = system.child("redis").process
    assert process is not None
    opened = submit(system.url)
    livez, bare, late = (
        Pulse(system.url, "/livez"),
        Pulse(bare_url, "/"),
        Pulse(bare_url, "/late"),
    )
    posters = Callers(system.url, POSTERS, submitting)
    pollers = Callers(system.url, POLLERS, Polling(opened[-POLLERS:], WAIT_S))
    try:
        time.sleep(LEAD_S)
        for pulse in (livez, bare, late):
            pulse.ask()
            pulse.took.clear()
        process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        try:
            while time.monotonic() < began + seconds:
                for pulse in (livez, bare):
                    pulse.ask()
                    time.sleep(PULSE_EVERY_S)
            overslept = json.loads(late.ask())
        finally:
            ended = time.monotonic()
            process.send_signal(signal.SIGCONT)
    finally:
        posts, polls = posters.stop(), pollers.stop()
        for pulse in (livez, bare, late):
            pulse.close()
    accepted = opened + [call.job_id for call in posts if call.job_id is not None]
    return Round(livez.took, bare.took, overslept, posts, polls, (began, ended), accepted)


def submit(url: str) -> list[str]:
    rng = random.Random(3)
    with Client(url) as client:
        return [client.submit(prose.query(rng), prose.documents(rng, 20)).id for _ in range(JOBS)]


def account(url: str, accepted: list[str], verdicts: Verdicts) -> None:
    deadline = time.monotonic() + DONE_WITHIN_S
    with Client(url) as client:
        done = sum(succeeded(client, job_id, deadline) for job_id in accepted)
    verdicts.judge(done == len(accepted), f"jobs: {done} of {len(accepted)} accepted succeeded")


def succeeded(client: Client, job_id: str, deadline: float) -> bool:
    try:
        job = client.wait(job_id, max(0.0, deadline - time.monotonic()))
    except (JobNotFinished, NotFound):
        return False
    return job.status is JobStatus.SUCCEEDED


def show(number: int, seen: Round) -> None:
    print(f"round {number}: Redis frozen for {seen.frozen[1] - seen.frozen[0]:.1f} s")
    for name, values in (("/livez", seen.livez), ("bare", seen.bare), ("sleeper", seen.late)):
        p50, high = 1000 * statistics.median(values), 1000 * max(values)
        print(
            f"  {name:8} p50 {p50:6.1f}  p99 {1000 * p99(values):6.1f}  max {high:6.1f} ms  "
            f"({len(values)})"
        )
    for name, calls in (("POST", seen.posts), ("wait", seen.polls)):
        met = seen.met(calls)
        by_status = {status: [c for c in met if c.status == status] for status in STATUSES}
        others = len(met) - sum(map(len, by_status.values()))
        shown = [f"{n}: {len(c)}, slowest {slowest(c):.2f} s" for n, c in by_status.items() if c]
        print(f"  {name:8} {'; '.join([*shown, f'others: {others}'])}", flush=True)


def judge(rounds: list[Round], verdicts: Verdicts) -> None:
    ratios = [seen.ratio for seen in rounds]
    verdicts.judge(
        statistics.median(ratios) <= TIMES_BARE,
        f"/livez: p99 {spread(ratios, '.2f')} times the bare server's, bound {TIMES_BARE:g}; "
        f"{spread([p99(r.livez) / p99(r.late) for r in rounds], '.2f')} times the sleeper's",
    )
    p99s = [1000 * p99(seen.livez) for seen in rounds]
    verdicts.judge(
        max(p99s) <= LIVEZ_MS, f"/livez: p99 {spread(p99s, '.1f')} ms, bound {LIVEZ_MS:g}"
    )
    posts = [call for seen in rounds for call in seen.within(seen.posts)]
    refused = sum(properly_refused(call) for call in posts)
    verdicts.judge(
        0 < refused == len(posts),
        f"POST: {refused} of {len(posts)} while Redis was frozen are 503 with Retry-After",
    )
    slow = slowest([call for seen in rounds for call in seen.met(seen.posts)])
    verdicts.judge(
        slow < ANSWERED_WITHIN_S, f"POST: {slow:.2f} s the slowest, bound {ANSWERED_WITHIN_S:g}"
    )
    polls = [call for seen in rounds for call in seen.met(seen.polls)]
    proper = sum(call.status == 200 or properly_refused(call) for call in polls)
    slow, bound = slowest(polls), WAIT_S + ANSWERED_WITHIN_S
    verdicts.judge(
        0 < proper == len(polls) and slow < bound,
        f"wait: {proper} of {len(polls)} got the job or 503 with Retry-After, {slow:.2f} s the "
        f"slowest, bound {bound:g}",
    )


def properly_refused(call: Call) -> bool:
    return call.status == 503 and call.retry_after is not None


def slowest(calls: Sequence[Call]) -> float:
    return max((call.took for call in calls), default=0.0)


def p99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]


if __name__ == "__main__":
    sys.exit(main())
