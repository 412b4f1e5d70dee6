"""What jobs take in Redis' memory and on its disk, open and finished.

    python -m benchmarks.scaling.memory

A Redis of its own, jobs of several shapes, `used_memory` before, with all of them open, and with
all of them scored; the size of the append-only file likewise.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import redis

from benchmarks.durability import server
from benchmarks.scaling import load
from rerankq.ledger import calls
from rerankq.ledger.calls import Holder
from rerankq.ledger.codec import ShardInput, ShardOutput
from rerankq.ledger.store import Ledger

SHARD_TOKENS = 16_384
SHAPES = ((10, 1024), (100, 256), (100, 1024), (100, 4096), (100, 16_384))  # documents, bytes
TEXT_BYTES = 40_000_000  # of all jobs of a shape, at most
MOST_JOBS = 1_000
EVERYTHING = 10**12  # room for all there is
HEAD = (
    *("documents", "bytes of each", "their texts with the results", "shards", "open, kB a job"),
    *("bytes a pair", "of its text", "finished, kB a job", "bytes a pair", "disk, bytes a pair"),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """Bytes of one job, on average; `written` is what the append-only file grew by."""

    shards: int
    open: float
    finished: float
    written: float


def main() -> None:
    print(_line(HEAD), _line(["---"] * len(HEAD)), sep="\n")
    for echo in (False, True):
        for documents, size in SHAPES:
            print(_line(_cells(documents, size, echo, measure(documents, size, echo=echo))))


def measure(documents: int, size: int, *, echo: bool) -> Taken:
    jobs = min(MOST_JOBS, max(20, TEXT_BYTES // (documents * size)))
    with server("no") as url, redis.Redis.from_url(url) as client:
        ledger = Ledger(client)
        # A first job brings what is there once: scripts, names, tables.
        shards = _submit(url, 1, documents, size, echo=echo)
        _score_all(ledger)
        before, written = _used(client), _file(client)
        _submit(url, jobs, documents, size, echo=echo)
        opened = _used(client)
        _score_all(ledger)
        finished = _used(client)
        grown = _file(client) - written
    return Taken(shards, (opened - before) / jobs, (finished - before) / jobs, grown / jobs)


def _submit(url: str, jobs: int, documents: int, size: int, *, echo: bool) -> int:
    rng = random.Random(jobs)
    submit = load.into_ledger(url)
    for number in range(jobs):
        whole = load.texts(rng, size, documents)
        encoded = load.encoded(whole, SHARD_TOKENS, echo=echo)
        submit(load.Texts(whole, encoded, b""), f"query {number:06}")
    return encoded.count


def _score_all(ledger: Ledger) -> None:
    holder = Holder("w", "m", 60_000)
    take = calls.take(
        holder, most=64, room=EVERYTHING, bulk_room=EVERYTHING, bulk_turn=False, idle=True
    )
    while entries := ledger.run(take).entries:
        done = []
        for each in entries:
            shard = ShardInput.decode(each.input or b"")
            output = ShardOutput(shard.first, (0.5,) * len(shard.documents), (), each.tokens)
            done.append(calls.complete(each.entry, output, "m", "r"))
        ledger.run_all(done)


def _used(client: redis.Redis) -> int:
    return int(client.info("memory")["used_memory"])


def _file(client: redis.Redis) -> int:
    """The append-only file's size, as if it had never been rewritten."""
    return int(client.info("persistence")["aof_current_size"])


def _cells(documents: int, size: int, echo: bool, taken: Taken) -> list[str]:
    return [
        str(documents),
        f"{size:,}",
        "yes" if echo else "no",
        str(taken.shards),
        f"{taken.open / 1000:.1f}",
        f"{taken.open / documents:,.0f}",
        f"{taken.open / documents / size:.2f}",
        f"{taken.finished / 1000:.1f}",
        f"{taken.finished / documents:,.0f}",
        f"{taken.written / documents:,.0f}",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
