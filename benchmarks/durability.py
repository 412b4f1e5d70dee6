"""What `appendfsync always` costs against `everysec`: jobs accepted a second, in turn.

    python -m benchmarks.durability --rounds 5

Each client is a thread that submits 10-document jobs straight to the ledger and cancels them.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.spread import spread
from rerankq.ledger import calls, shards
from rerankq.ledger.connection import connect
from rerankq.ledger.records import header, new_job_id
from rerankq.ledger.sharding import cut
from rerankq.ledger.store import Ledger
from rerankq.schema import JobRequest
from rerankq.status import JobStatus
from scripts.redis_server import answers, command, find_server, free_port

WAYS = ("always", "everysec")
SECONDS = 2.0
REQUEST = JobRequest(query="q", documents=["a document of some forty words " * 7] * 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with server("always") as always, server("everysec") as everysec:
        urls = dict(zip(WAYS, (always, everysec), strict=True))
        for clients in (1, 4, 16):
            rates: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(args.rounds):
                for way in WAYS:
                    rates[way].append(accepted_per_s(urls[way], clients))
            ratios = [a / b for a, b in zip(rates["always"], rates["everysec"], strict=True)]
            print(f"{clients:3} clients, jobs/s: {spread(rates['always'], '.0f')} always, ", end="")
            print(f"{spread(rates['everysec'], '.0f')} everysec, ratio {spread(ratios, '.2f')}")


@contextmanager
def server(appendfsync: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        line = command(find_server(), Path(folder), port, appendfsync=appendfsync)
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
        try:
            url = f"redis://127.0.0.1:{port}/0"
            while not answers(url):
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def accepted_per_s(url: str, clients: int) -> float:
    stop = time.monotonic() + SECONDS
    counts = [0] * clients

    def client(number: int) -> None:
        with connect(url) as connection:
            ledger = Ledger(connection)
            while time.monotonic() < stop:
                submit(ledger)
                counts[number] += 1

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def submit(ledger: Ledger) -> None:
    job_id, texts = new_job_id(), shards.texts_of(REQUEST)
    shape = cut("q", None, texts, shard_tokens=16_384, max_length=8192)
    fields = header(REQUEST, shape, model="m", owner="", request_id="r", result_ttl_ms=1_000)
    whole = shards.encode(REQUEST, texts, shape)
    commit = calls.commit(
        job_id,
        fields,
        entries=whole.count,
        max_backlog=10**6,
        owner="",
        expires_in_ms=60_000,
        idempotency=None,
        staged=whole.token,
    )
    ledger.submit(whole, commit)
    ledger.run(calls.finish(job_id, JobStatus.CANCELLED))


if __name__ == "__main__":
    main()
