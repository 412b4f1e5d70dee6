"""docs/operate.md, "Backup": a copy taken from a Redis that is running and written to is one."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from rerankq.ledger.store import Ledger
from rerankq.status import JobStatus
from scripts.redis_server import answers, command, find_server, free_port
from tests.conftest import eventually
from tests.integration.bench import Bench

UNTOUCHED = "auto-aof-rewrite-percentage"


@contextmanager
def redis_in(folder: Path) -> Iterator[redis.Redis]:
    port = free_port()
    process = subprocess.Popen(command(find_server(), folder, port), stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        eventually(lambda: answers(url))
        with redis.Redis.from_url(url) as client:
            yield client
    finally:
        process.terminate()
        process.wait(10)


def test_a_copy_of_the_running_redis_folder_has_all_that_was_accepted(tmp_path: Path) -> None:
    accepted, over = [], threading.Event()
    with redis_in(tmp_path / "live") as client:
        bench = Bench(client, Ledger(client))

        def submit() -> None:
            while not over.is_set():
                accepted.append(bench.commit(shards=3).about)

        done = bench.commit().about
        bench.complete(bench.take()[0].entry)
        writer = threading.Thread(target=submit)
        writer.start()
        eventually(lambda: len(accepted) > 20)
        client.config_set(UNTOUCHED, 0)
        eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
        before = list(accepted)
        shutil.copytree(tmp_path / "live", tmp_path / "copy")
        over.set()
        writer.join()
    with redis_in(tmp_path / "copy") as client:
        bench = Bench(client, Ledger(client))
        assert bench.job(done).status is JobStatus.SUCCEEDED
        assert {bench.job(job_id).status for job_id in before} == {JobStatus.QUEUED}
        taken = {item.job_id for item in bench.take(most=64)}
        assert taken
        assert taken <= set(accepted)
