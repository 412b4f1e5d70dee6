"""`rerankq bulk` straight on Redis, with a worker whose every step is the test's own."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from scripts.redis_server import answers, command, find_server, free_port
from tests.conftest import eventually
from tests.integration.batch_worker import BatchWorker
from tests.integration.command import begun, ended, read_all, run

POLL = ("--poll", "0.05")


@pytest.fixture
def worker(empty_redis: redis.Redis, redis_url: str) -> BatchWorker:
    return BatchWorker(redis_url)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """An input, and where its output is to go."""
    source = tmp_path / "in.jsonl"
    records = [{"id": f"q{n}", "query": "a port?", "documents": ["ss", "dough"]} for n in range(5)]
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    return source, tmp_path / "out.jsonl"


Files = tuple[Path, Path]


def start(worker: BatchWorker, files: Files, *options: str, **more: Any) -> subprocess.Popen[str]:
    return begun("bulk", *files, *POLL, *options, redis_url=worker.url, **more)


def left(files: Files) -> list[str]:
    """Names in the output's folder, without the input's."""
    return sorted(path.name for path in files[1].parent.iterdir() if path != files[0])


def test_a_file_is_scored(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files, "--json", "--top-k", "3", "--instruction", "Find commands.")
    batch_id = worker.newest()
    spec = worker.batch(batch_id).spec
    assert (spec.input, spec.output) == tuple(map(str, files))
    assert (spec.input_format, spec.output_format) == ("jsonl", "jsonl")
    assert (spec.top_k, spec.instruction, spec.max_errors) == (3, "Find commands.", None)
    assert (spec.errors, spec.work) == (f"{files[1]}.errors.jsonl", f"{files[1]}.parts")
    assert spec.version.startswith(str(files[0].stat().st_size))
    worker.plan(batch_id, 2)
    worker.score(batch_id, 1)
    worker.score(batch_id, 2, bad=1)
    worker.merge(batch_id)
    said = ended(process)
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert (told["id"], told["status"], told["already"]) == (batch_id, "completed", False)
    assert (told["records"], told["pairs"], told["tokens"]) == (10, 20, 200)
    assert (told["bad"], told["errors"]) == (1, f"{files[1]}.errors.jsonl")
    assert "1 lines could not be scored" in said.err
    assert left(files) == ["out.jsonl", "out.jsonl.errors.jsonl"]


def test_without_a_terminal_nothing_is_drawn(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files)
    worker.whole(worker.newest())
    said = ended(process)
    assert (said.code, said.out) == (0, "")
    assert "\r" not in said.err
    assert all(line.startswith("rerankq: ") for line in said.err.splitlines())


def test_quiet_says_nothing_at_all(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files, "--quiet")
    worker.whole(worker.newest())
    said = ended(process)
    assert (said.code, said.out, said.err) == (0, "", "")


def test_a_terminal_shows_how_far_it_is(worker: BatchWorker, files: Files) -> None:
    ours, its = pty.openpty()
    process = start(worker, files, stderr=its)
    os.close(its)
    batch_id = worker.newest()
    worker.plan(batch_id, 4)
    worker.score(batch_id, 1, pairs=1000)
    drawn = ""
    while "25%  1,000 pairs" not in drawn:
        drawn += os.read(ours, 65536).decode()
    worker.score(batch_id, 2, bad=2)
    while "ETA" not in drawn or "2 bad" not in drawn:
        drawn += os.read(ours, 65536).decode()
    assert " pairs/s" in drawn
    worker.score(batch_id, 3)
    worker.score(batch_id, 4)
    worker.merge(batch_id)
    drawn += read_all(ours)
    assert process.wait(30) == 0
    assert drawn.rindex("\x1b[K") < drawn.index("completed")  # the line is gone by then
    os.close(ours)
    ended(process)


def test_the_same_command_again_is_done(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files)
    worker.whole(worker.newest())
    assert ended(process).code == 0
    again = ended(start(worker, files, "--json"))
    assert (again.code, json.loads(again.out)["already"]) == (0, True)
    assert "done already" in again.err
    assert len(worker.ids()) == 1

    process = start(worker, files, "--force")
    worker.whole(worker.newest(after=1))
    assert ended(process).code == 0

    files[1].unlink()
    process = start(worker, files)
    worker.whole(worker.newest(after=2))
    assert ended(process).code == 0


def test_another_command_is_another_batch(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files)
    worker.whole(worker.newest())
    assert ended(process).code == 0
    process = start(worker, files, "--top-k", "1")
    worker.whole(worker.newest(after=1))
    assert ended(process).code == 0
    # What lies there is the other command's now.
    process = start(worker, files)
    worker.whole(worker.newest(after=2))
    assert ended(process).code == 0
    files[0].write_text(files[0].read_text() * 2)
    process = start(worker, files)
    worker.whole(worker.newest(after=3))
    assert ended(process).code == 0


def test_where_another_batch_writes_none_is_begun(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files)
    batch_id = worker.newest()
    second = ended(start(worker, files, "--top-k", "1"))
    assert second.code == 1
    assert f"output_taken: {batch_id} is still writing to {files[1]}" in second.err
    worker.whole(batch_id)
    assert ended(process).code == 0


def test_a_killed_command_is_gone_on_with(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files)
    batch_id = worker.newest()
    eventually(lambda: "out.jsonl.rerankq.json" in left(files))
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    worker.plan(batch_id, 2)
    worker.score(batch_id, 1)
    process = start(worker, files, "--json")
    second = start(worker, files, "--json")  # both watch the same batch
    worker.score(batch_id, 2)
    worker.merge(batch_id)
    for said in (ended(process), ended(second)):
        assert said.code == 0, said.err
        assert json.loads(said.out)["id"] == batch_id
    assert worker.ids() == [batch_id]
    assert left(files) == ["out.jsonl"]


def test_without_its_notes_it_is_found_as_well(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files)
    batch_id = worker.newest()
    eventually(lambda: "out.jsonl.rerankq.json" in left(files))
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    (files[1].parent / "out.jsonl.rerankq.json").write_text("{broken")
    process = start(worker, files, "--json")
    worker.whole(batch_id)
    assert json.loads(ended(process).out)["id"] == batch_id


def test_a_failed_batch_is_begun_anew(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files, "--json")
    failed = worker.newest()
    worker.fail(failed)
    said = ended(process)
    assert said.code == 1
    assert "input_changed: it is another file now" in said.err
    assert json.loads(said.out)["error"]["code"] == "input_changed"
    process = start(worker, files)
    again = worker.newest(after=1)
    assert again != failed
    worker.whole(again)
    assert ended(process).code == 0


def test_too_many_bad_lines_fail_it(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files, "--max-errors", "1")
    batch_id = worker.newest()
    worker.plan(batch_id, 2)
    worker.score(batch_id, 1, bad=2)
    worker.merge(batch_id)
    said = ended(process)
    assert said.code == 1
    assert "too_many_errors" in said.err


def test_interrupted_it_says_how_to_go_on(worker: BatchWorker, files: Files) -> None:
    process = start(worker, files)
    batch_id = worker.newest()
    eventually(lambda: "out.jsonl.rerankq.json" in left(files))
    process.send_signal(signal.SIGINT)
    said = ended(process)
    assert said.code == 130
    assert "the same command" in said.err
    assert worker.batch(batch_id).phase == "validating"
    (cancel,) = [line for line in said.err.splitlines() if "batches cancel" in line]
    gone = run(*cancel.split()[2:], redis_url=worker.url)
    assert gone.code == 0, gone.err
    shown = run("batches", "status", batch_id, "--json", redis_url=worker.url)
    assert (shown.code, json.loads(shown.out)["status"]) == (1, "cancelled")
    listed = run("batches", redis_url=worker.url)
    assert listed.out.split()[:2] == [batch_id, "cancelled"]


def test_an_unknown_batch(worker: BatchWorker) -> None:
    for batch_id in ("batch_0", f"batch_{0:032x}"):
        said = run("batches", "status", batch_id, redis_url=worker.url)
        assert (said.code, "not_found" in said.err) == (1, True)
    assert run("batches", "status", redis_url=worker.url).code == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["{folder}/nowhere.jsonl", "{out}"], "there is no such file"),
        (["{in}", "{folder}/nowhere/out.jsonl"], "there is no such folder"),
        (["{in}", "{folder}"], "does not say its format"),
        (["{in}", "{folder}", "--output-format", "jsonl"], "is a folder"),
        (["{in}", "{in}"], "is an input"),
        (["{in}", "{out}.gz"], "uncompressed"),
        (["{in}", "{out}", "--errors", "{folder}/nowhere/bad"], "there is no such folder"),
        (["{in}", "{out}", "--corpus", "{in}"], "--queries"),
        (["{in}", "{out}", "--input-format", "trec"], "--corpus"),
        (["{in}", "{out}", "--tag", "a b"], "tag"),
        (["{in}", "{out}", "--model", "another"], "is not served here"),
        (["{in}", "{out}", "--top-k", "0"], "at least 1"),
        (["{in}"], "output"),
    ],
)
def test_what_cannot_be_done_is_said_first(
    change: list[str], says: str, worker: BatchWorker, files: Files
) -> None:
    names = {"in": str(files[0]), "out": str(files[1]), "folder": str(files[0].parent)}
    said = run("bulk", *(part.format(**names) for part in change), redis_url=worker.url)
    assert (said.code, said.out) == (2, "")
    assert says in said.err
    assert worker.ids() == []
    assert left(files) == []


def test_a_name_that_says_no_format(worker: BatchWorker, files: Files) -> None:
    odd = files[0].rename(files[0].with_suffix(".data"))
    said = run("bulk", odd, files[1], redis_url=worker.url)
    assert said.code == 2
    assert "--input-format jsonl, rank_llm, msmarco, trec, parquet or openai" in said.err


def test_a_dry_run_starts_nothing(worker: BatchWorker, files: Files) -> None:
    said = run("bulk", *files, "--dry-run", "--json", redis_url=worker.url)
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert (told["records"], told["pairs"], told["whole"]) == (5, 10, True)
    assert told["tokens"] > 10 * 70
    assert (told["workers"], told["seconds"]) == (0, None)
    said = run("bulk", *files, "--dry-run", redis_url="redis://127.0.0.1:9/0")
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1].split() == ["time", "unknown"]
    assert worker.ids() == []
    assert left(files) == []


def test_out_of_reach(files: Files) -> None:
    said = run("bulk", *files, redis_url="redis://127.0.0.1:9/0")
    assert (said.code, "cannot reach Redis" in said.err) == (3, True)
    said = run("bulk", *files, url="http://127.0.0.1:9")
    assert (said.code, "cannot reach the service" in said.err) == (3, True)


class MortalRedis:
    """A server that can be stopped and started, and keeps what it had."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            command(find_server(), self._folder, self._port),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: answers(self.url))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@pytest.fixture
def mortal_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalRedis]:
    server = MortalRedis(tmp_path_factory.mktemp("mortal"))
    server.start()
    yield server
    server.kill()


def test_a_redis_that_is_away_is_waited_for(mortal_redis: MortalRedis, files: Files) -> None:
    worker = BatchWorker(mortal_redis.url)
    process = start(worker, files)
    batch_id = worker.newest()
    eventually(lambda: "out.jsonl.rerankq.json" in left(files))
    mortal_redis.kill()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(7)  # longer than a call is repeated
    impatient = ended(start(worker, files, "--give-up-after", "0.1"))
    assert impatient.code == 3
    mortal_redis.start()
    worker.whole(batch_id)
    assert ended(process).code == 0
