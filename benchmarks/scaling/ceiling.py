"""What one Redis can carry: clients that do nothing but the ledger's work of a shard.

    python -m benchmarks.scaling.ceiling

Each client is a process that submits jobs and takes, holds and completes their shards one by one,
as fast as Redis answers. `benchmarks.scale` cannot load Redis like that on a machine whose cores
its workers need. What counts is Redis' CPU a shard with many clients: with few it does its work in
small pieces, and with `always` waits for the disk after each.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import redis

from benchmarks.durability import server
from benchmarks.machine import describe
from benchmarks.scaling import load
from rerankq.ledger import calls
from rerankq.ledger.calls import Holder
from rerankq.ledger.codec import ShardInput, ShardOutput
from rerankq.ledger.connection import connect
from rerankq.ledger.store import Ledger

LEASE_MS = 15_000


@dataclass(frozen=True, slots=True)
class Job:
    """What is submitted; `documents` 0: as many as fill some shards."""

    document_bytes: int
    shard_tokens: int
    documents: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--fsync", nargs="+", default=["always", "everysec"])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--document-bytes", type=int, default=1024)
    parser.add_argument("--shard-tokens", type=int, default=16_384)
    parser.add_argument("--documents", type=int, default=0, help="of a job; 0: some full shards")
    args = parser.parse_args()
    job = Job(args.document_bytes, args.shard_tokens, args.documents)
    print(f"{describe()}; {job}")
    for clients in args.clients:
        for appendfsync in args.fsync:
            print(measure(clients, appendfsync, args.seconds, job), flush=True)


def measure(clients: int, appendfsync: str, seconds: float, job: Job) -> str:
    with (
        server(appendfsync) as url,
        redis.Redis.from_url(url) as client,
        ProcessPoolExecutor(clients, get_context("spawn")) as processes,
    ):

        def all_drive(seconds: float) -> int:
            return sum(processes.map(drive, [url] * clients, [seconds] * clients, [job] * clients))

        all_drive(0.2)  # the processes are there, and the scripts
        before, started = client.info("cpu"), time.monotonic()
        shards = all_drive(seconds)
        taken, after = time.monotonic() - started, client.info("cpu")
    user, system = (after[key] - before[key] for key in ("used_cpu_user", "used_cpu_sys"))
    each = (user + system) / shards
    return (
        f"{clients:3} clients, {appendfsync:8}: {shards / taken:,.0f} shards/s, Redis busy "
        f"{(user + system) / taken:.2f} of a core, {1000 * each:.2f} ms of it a shard (system "
        f"{1000 * system / shards:.2f}): a core full at {1 / each:,.0f} shards/s"
    )


def drive(url: str, seconds: float, job: Job) -> int:
    """Shards done; `seconds` begin when this process is ready."""
    jobs = load.variants(job.document_bytes, job.shard_tokens, job.documents)
    submit = load.into_ledger(url)
    with connect(url) as client:
        ledger = Ledger(client)
        holder = Holder(f"w{time.monotonic_ns()}", "simulated", LEASE_MS)
        stop, done = time.monotonic() + seconds, 0
        while time.monotonic() < stop:
            texts = jobs[done % len(jobs)]
            submit(texts, f"query {time.monotonic_ns()}")
            for _ in range(texts.shards.count):
                done += _one(ledger, holder)
        return done


def _one(ledger: Ledger, holder: Holder) -> int:
    take = calls.take(holder, most=1, room=1, bulk_room=1, bulk_turn=True, idle=True)
    entries = ledger.run(take).entries
    for each in entries:
        ledger.run(calls.hold(holder.worker, LEASE_MS, [each.entry], mark=True))
        shard = ShardInput.decode(each.input or b"")
        output = ShardOutput(shard.first, (0.5,) * len(shard.documents), (), each.tokens)
        ledger.run(calls.complete(each.entry, output, "simulated", "none"))
    return len(entries)


if __name__ == "__main__":
    main()
