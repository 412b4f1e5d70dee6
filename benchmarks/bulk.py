"""A corpus through `rerankq bulk`, unattended: whatever is killed, complete, in order, each once.

    python -m benchmarks.bulk --pairs 150000

Two workers with the demo model in float32 on this machine, Redis, no API. A ready worker is killed
outright every 15 s, and twice the command itself, which is then run again. Before it a tenth of the
pairs goes through in the same way, for the slope. Bounds; exit status 1 if one is broken:

  complete  every record is in the output once, in the input's order
  exact     the scores of a sample of records are the in-process engine's, to 1e-5 in probability
  redis     never above 50 MB
  memory    the command's and the workers' resident sets are as large for all pairs as for a tenth,
            to 10 %; of workers the largest of their last looks, since each kill starts one anew
  slope     a pair of all of them takes at most 1.25 times as long as one of the tenth
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import redis

from benchmarks import prose
from benchmarks.verdicts import Verdicts
from rerankq.scores import sigmoid
from rerankq.settings import Settings
from scripts.localsystem import DEMO_MODEL, Child, LocalSystem
from worker.engine.hosted import host

DOCUMENTS = 30  # of a query
WORKERS = 2
KILL_EVERY_S = 15.0
COMMAND_KILLED_AT = (0.25, 0.6)  # of the records
SAMPLE = 40  # records
REDIS_MB, TOLERANCE, GROWTH, SLOPE = 50.0, 1e-5, 1.10, 1.25
LOOK_S = 1.0
COMMAND = [sys.executable, "-c", "from rerankq.cli import main; raise SystemExit(main())"]


@dataclass
class Seen:
    """One run of the command, its restarts included."""

    seconds: float = 0.0
    redis: float = 0.0  # most bytes
    command: float = 0.0  # most bytes resident
    workers: list[float] = field(default_factory=list)  # bytes of the largest, a look each
    kills: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=15_000)
    parser.add_argument("--no-kills", action="store_true")
    args = parser.parse_args()
    verdicts = Verdicts()
    runs = []
    for pairs in (args.pairs // 10, args.pairs):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(_run(Path(folder), pairs, not args.no_kills, verdicts))
    _compare(*runs, args.pairs, verdicts)
    return verdicts.code


def _run(folder: Path, pairs: int, kills: bool, verdicts: Verdicts) -> Seen:
    given, output = folder / "in.jsonl", folder / "out.jsonl"
    count = pairs // DOCUMENTS
    with given.open("w") as file:
        for record in records(count):
            file.write(json.dumps(record) + "\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RERANKQ_")}
    # By start-up trials workers would choose budgets of their own, and need memory by them.
    environment |= {"RERANKQ_DTYPE": "float32", "RERANKQ_TOKEN_BUDGET": "4096"}
    system = LocalSystem(folder / "run", workers=WORKERS, env=environment)
    system.start()
    threading.Thread(target=system.watch, daemon=True).start()
    try:
        with _watched(system, kills) as seen:
            started = time.monotonic()
            _command(system, given, output, count, kills, seen)
            seen.seconds = time.monotonic() - started
    finally:
        system.stop()
    rate = pairs / seen.seconds
    print(
        f"{pairs} pairs: {seen.seconds:.0f} s, {rate:.0f} pairs/s, {seen.kills} kills", flush=True
    )
    _check(given, output, verdicts)
    return seen


def records(count: int) -> Iterator[dict[str, Any]]:
    rng = random.Random(7)
    for n in range(count):
        yield {"id": n, "query": prose.query(rng), "documents": prose.documents(rng, DOCUMENTS)}


def _command(
    system: LocalSystem, given: Path, output: Path, records: int, kills: bool, seen: Seen
) -> None:
    """Run it until it ends by itself, as who finds it dead would."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RERANKQ_")}
    environment |= {"RERANKQ_REDIS_URL": system.redis_url, "RERANKQ_MODEL": DEMO_MODEL}
    line = [*COMMAND, "bulk", str(given), str(output), "--poll", "0.5", "--quiet"]
    for share in [*(COMMAND_KILLED_AT if kills else ()), None]:
        process = subprocess.Popen(line, env=environment)
        held = psutil.Process(process.pid)
        while process.poll() is None:
            with _gone_is_fine():
                seen.command = max(seen.command, held.memory_info().rss)
            if share is not None and _records_done(system) >= share * records:
                process.kill()
                process.wait()
                break
            time.sleep(LOOK_S / 2)
        if process.returncode == 0:
            return
        if share is None:
            raise SystemExit(f"rerankq bulk ended with {process.returncode}")


def _records_done(system: LocalSystem) -> int:
    with redis.Redis.from_url(system.redis_url) as client:
        batches: Any = client.keys("rerankq:job:batch_*[0-9a-f]")
        return max((int(client.hget(key, "records") or 0) for key in batches), default=0)  # type: ignore[arg-type]


@contextmanager
def _watched(system: LocalSystem, kills: bool) -> Iterator[Seen]:
    """Looks at memory, and kills, until the block ends."""
    seen, over = Seen(), threading.Event()
    workers = [child for child in system.children if child.name.startswith("worker")]

    def look() -> None:
        killed_at, turn = time.monotonic(), 0
        while not over.wait(LOOK_S):
            with redis.Redis.from_url(system.redis_url) as client:
                info: Any = client.info("memory")
                seen.redis = max(seen.redis, float(info["used_memory"]))
            with _gone_is_fine():
                seen.workers.append(max(_resident(child) for child in workers))
            child = workers[turn % len(workers)]
            if kills and time.monotonic() - killed_at > KILL_EVERY_S and child.ready():
                assert child.process is not None
                os.kill(child.process.pid, signal.SIGKILL)
                killed_at, turn, seen.kills = time.monotonic(), turn + 1, seen.kills + 1

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@contextmanager
def _gone_is_fine() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return


def _resident(child: Child) -> float:
    return float(psutil.Process(child.process.pid).memory_info().rss) if child.process else 0.0


def _check(given: Path, output: Path, verdicts: Verdicts) -> None:
    with given.open() as one, output.open() as other:
        inputs = [json.loads(line) for line in one]
        outputs = [json.loads(line) for line in other]
    same = [record["id"] for record in inputs] == [record["id"] for record in outputs]
    verdicts.judge(same, f"complete  {len(outputs)} of {len(inputs)} records, in order")
    engine = host(Settings(model=DEMO_MODEL, device="cpu", dtype="float32", token_budget=2048))
    worst = 0.0
    both = list(zip(inputs, outputs, strict=False))
    for record, told in random.Random(1).sample(both, min(SAMPLE, len(both))):
        pairs = engine.encode(record["query"], None, record["documents"])
        expected = [sigmoid(score) for score in engine.prepare(pairs)()]
        for result in told["results"]:
            worst = max(worst, abs(result["relevance_score"] - expected[result["index"]]))
    verdicts.judge(worst <= TOLERANCE, f"exact  largest difference {worst:.1e} in {SAMPLE} records")


def _compare(tenth: Seen, whole: Seen, pairs: int, verdicts: Verdicts) -> None:
    most = max(tenth.redis, whole.redis) / 1e6
    verdicts.judge(most <= REDIS_MB, f"redis  {most:.1f} MB at most, bound {REDIS_MB:g}")
    for name, before, after in (
        ("command", tenth.command, whole.command),
        ("workers", max(tenth.workers), max(whole.workers[len(whole.workers) // 2 :])),
    ):
        told = f"{name}: {before / 1e6:.0f} MB, then {after / 1e6:.0f} MB"
        verdicts.judge(after <= GROWTH * before, f"memory  {told}")
    slope = (whole.seconds / pairs) / (tenth.seconds / (pairs // 10))
    verdicts.judge(slope <= SLOPE, f"slope  {slope:.2f} times as long a pair, bound {SLOPE}")


if __name__ == "__main__":
    sys.exit(main())
