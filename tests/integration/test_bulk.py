"""Batches through real workers: complete, in order, each record once, whatever is killed."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from rerankq import Client
from rerankq.bulk import storage
from rerankq.bulk.chunks import Chunk
from rerankq.bulk.spec import BatchSpec
from rerankq.ledger import batches, verbs
from rerankq.ledger.batch_record import BatchRecord
from rerankq.ledger.connection import connect
from rerankq.ledger.keys import GIVEN_UP, Key, Part, name
from rerankq.ledger.store import Ledger
from rerankq.status import JobStatus, Lane
from scripts.localsystem import LocalSystem
from tests.conftest import ROOT, StartSystem, eventually
from tests.reference import Reference

WORDS = (ROOT / "LICENSE").read_text().split()


def records(count: int, seed: int = 1) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {
            "id": f"q{n}",
            "query": " ".join(rng.choices(WORDS, k=4)),
            "documents": [
                " ".join(rng.choices(WORDS, k=rng.randint(1, 40))) for _ in range(rng.randint(1, 6))
            ],
            "note": n,
        }
        for n in range(count)
    ]


def write(folder: Path, lines: Sequence[object]) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines))
    return path


def spec(path: Path, **changes: Any) -> BatchSpec:
    out = path.with_name("out.jsonl")
    given = {
        "input": str(path),
        "input_format": "jsonl",
        "version": storage.stat(str(path)).version,
        "output": str(out),
        "output_format": "jsonl",
        "errors": f"{out}.errors.jsonl",
        "work": f"{out}.parts",
    }
    return BatchSpec.model_validate({**given, **changes})


class Batches:
    """Batches of one system, straight in its ledger."""

    def __init__(self, redis_url: str) -> None:
        self.url = redis_url
        self.ledger = Ledger(connect(redis_url))

    def start(self, what: BatchSpec) -> str:
        fields = batches.header(what, model="m", owner="", result_ttl_ms=60_000)
        call = batches.enlist(
            batches.new_batch_id(), fields, output=what.output, owner="", expires_in_ms=600_000
        )
        return self.ledger.run(call).about

    def look(self, batch_id: str) -> BatchRecord:
        record = self.ledger.batch(batch_id)
        assert record is not None
        return record

    def ended(self, batch_id: str, seconds: float = 90) -> BatchRecord:
        eventually(lambda: self.look(batch_id).final, seconds)
        return self.look(batch_id)

    def cancelled(self, what: BatchSpec) -> BatchRecord:
        """Cancelled when more than two of its chunks are scored."""
        batch_id = self.start(what)
        eventually(lambda: self.look(batch_id).done > 2, 60)
        self.ledger.run(batches.stop(batch_id, JobStatus.CANCELLED))
        return self.ended(batch_id)

    def run(self, what: BatchSpec) -> BatchRecord:
        return self.ended(self.start(what))


@pytest.fixture(scope="module")
def system(start_system: StartSystem) -> LocalSystem:
    return start_system(workers=2, supervised=True)


@pytest.fixture
def running(system: LocalSystem) -> Batches:
    return Batches(system.redis_url)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Callable[[BatchSpec, int], BatchSpec]:
    """As if a batch had been cut so before: what a re-run goes by."""

    def cut(what: BatchSpec, size: int) -> BatchSpec:
        storage.put(storage.join(what.at_home().work, "cut"), str(size).encode())
        return what

    return cut


Cut = Callable[[BatchSpec, int], BatchSpec]


def read(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def scores(record: dict[str, Any]) -> dict[int, float]:
    return {result["index"]: result["relevance_score"] for result in record["results"]}


@pytest.mark.timeout(200)
def test_a_file_comes_out_ranked_in_its_order(
    running: Batches, tmp_path: Path, small_chunks: Cut
) -> None:
    given = records(300)
    what = small_chunks(spec(write(tmp_path, given)), 8_000)
    record = running.run(what)
    pairs = sum(len(one["documents"]) for one in given)
    assert (record.phase, record.pairs, record.records, record.bad) == ("completed", pairs, 300, 0)
    assert record.chunks > 5
    out = read(what.output)
    assert [(one["id"], one["note"]) for one in out] == [(one["id"], one["note"]) for one in given]
    reference = Reference(ROOT / "models" / "demo")
    for one, told in list(zip(given, out, strict=True))[::29]:
        expected = [reference(one["query"], document) for document in one["documents"]]
        assert scores(told) == pytest.approx(dict(enumerate(expected)), abs=1e-5)
        order = [result["relevance_score"] for result in told["results"]]
        assert order == sorted(order, reverse=True)
    assert not Path(what.work).exists()
    assert not Path(what.errors).exists()


@pytest.mark.timeout(300)
def test_kills_lose_and_repeat_nothing(
    system: LocalSystem, running: Batches, tmp_path: Path, small_chunks: Cut
) -> None:
    given = records(600, seed=2)
    what = small_chunks(spec(write(tmp_path, given)), 8_000)
    batch_id = running.start(what)
    for number in (1, 2, 1):
        before = running.look(batch_id).done
        eventually(lambda before=before: running.look(batch_id).done > before + 1, 60)
        process = system.child(f"worker-{number}").process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
    record = running.ended(batch_id, 200)
    assert (record.phase, record.records) == ("completed", 600)
    assert [one["id"] for one in read(what.output)] == [one["id"] for one in given]


@pytest.mark.timeout(200)
def test_bad_lines_go_to_the_errors_file_with_their_numbers(
    running: Batches, tmp_path: Path, small_chunks: Cut
) -> None:
    lines: list[object] = [*records(40)]
    lines[16] = '{"query": "broken'
    lines[20] = ""
    lines[30] = {"id": "blank", "query": "  ", "documents": ["d"]}
    what = small_chunks(spec(write(tmp_path, lines)), 2_000)
    record = running.run(what)
    assert (record.phase, record.bad, record.records, record.errors) == ("completed", 2, 39, True)
    errors = read(what.errors)
    assert [(one["line"], one["code"]) for one in errors] == [
        (17, "invalid_json"),
        (31, "invalid_record"),
    ]
    assert errors[1]["id"] == "blank"
    assert len(read(what.output)) == 37


@pytest.mark.timeout(200)
def test_too_many_bad_lines_end_it_and_what_was_scored_is_kept(
    running: Batches, tmp_path: Path, small_chunks: Cut
) -> None:
    lines: list[object] = [*records(30), *["{"] * 5, *records(30)]
    what = small_chunks(spec(write(tmp_path, lines), max_errors=4), 1_000)
    record = running.run(what)
    assert record.phase == "failed"
    assert record.error is not None
    assert record.error.code == "too_many_errors"
    assert len(read(what.errors)) >= 5


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"input": "/nowhere/in.jsonl"}, "input_missing"),
        ({"version": "another"}, "input_changed"),
        ({"work": "/dev/null/parts"}, "storage_failed"),
    ],
)
def test_what_cannot_be_read_or_written_fails_with_its_name(
    change: dict[str, str], code: str, running: Batches, tmp_path: Path
) -> None:
    what = spec(write(tmp_path, records(3)), **change)
    record = running.run(what)
    assert record.phase == "failed"
    assert record.error is not None
    assert record.error.code == code
    assert (change.get("work") or what.input) in record.error.detail
    assert not Path(what.output).exists()


@pytest.mark.timeout(200)
def test_a_cancelled_batch_keeps_what_was_scored_and_the_next_one_reuses_it(
    running: Batches, tmp_path: Path, small_chunks: Cut
) -> None:
    given = records(600, seed=3)
    what = small_chunks(spec(write(tmp_path, given)), 6_000)
    record = running.cancelled(what)
    assert record.phase == "cancelled"
    partial = [one["id"] for one in read(what.output)]
    assert 0 < len(partial) < 600
    assert sum(scores_of(what)) == record.pairs
    home = Path(what.at_home().work)
    parts = {path: path.stat().st_mtime_ns for path in home.glob("part-*.jsonl")}
    again = running.start(what)
    eventually(lambda: running.look(again).done >= 3, 60)
    assert all(path.stat().st_mtime_ns == written for path, written in parts.items())
    assert running.ended(again, 120).phase == "completed"
    assert [one["id"] for one in read(what.output)] == [one["id"] for one in given]


@pytest.mark.timeout(200)
def test_a_chunk_that_was_given_up_comes_out_as_bad_lines(
    system: LocalSystem, running: Batches, tmp_path: Path
) -> None:
    what = spec(write(tmp_path, [*records(4), "{"]))
    size = storage.stat(what.input).size
    running.ledger.run(verbs.pause(Lane.BULK, paused=True))
    batch_id = running.start(what)
    plan = batches.planned(f"{batch_id}:0", size, 0, [Chunk(0, size, size)], last=True)
    assert running.ledger.run(plan).chunks == 1
    with redis.Redis.from_url(running.url) as client:
        key = name(Key.JOB, batch_id) + Part.INPUT
        client.hset(key, "1", f"{GIVEN_UP}{Chunk(0, size, size).encode()}")
    running.ledger.run(verbs.pause(Lane.BULK, paused=False))
    record = running.ended(batch_id)
    assert (record.phase, record.records, record.bad, record.pairs) == ("completed", 5, 5, 0)
    told = [(line["line"], line["code"]) for line in read(what.errors)]
    assert told == [*((n, "worker_lost") for n in (1, 2, 3, 4)), (5, "invalid_json")]
    # An operator is told of what we lost, and not of what its owner wrote.
    shown = httpx.get(f"{system.url}/metrics").text
    assert 'rerankq_batch_lines_lost_total{code="worker_lost"} 4.0' in shown
    assert "invalid_json" not in shown


def scores_of(what: BatchSpec) -> list[int]:
    return [len(one["results"]) for one in read(what.output)]


@pytest.mark.timeout(200)
def test_a_part_that_is_gone_is_scored_again_whatever_is_said_of_it(
    running: Batches, tmp_path: Path, small_chunks: Cut
) -> None:
    given = records(200, seed=6)
    what = small_chunks(spec(write(tmp_path, given)), 5_000)
    assert running.cancelled(what).phase == "cancelled"
    lost = sorted(Path(what.at_home().work).glob("part-*.jsonl"))[0]
    lost.unlink()
    assert running.run(what).phase == "completed"
    assert [one["id"] for one in read(what.output)] == [one["id"] for one in given]


@pytest.mark.timeout(200)
def test_a_compressed_input_that_was_mended_is_read_anew(running: Batches, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"query": "q"}\n'))
    broken = spec(path, output=str(tmp_path / "out.jsonl"), max_errors=0)
    assert running.run(broken).phase == "failed"
    path.write_bytes(gzip.compress(json.dumps(records(1)[0]).encode()))
    mended = spec(path, output=str(tmp_path / "out.jsonl"), max_errors=0)
    assert running.run(mended).phase == "completed"
    assert [one["id"] for one in read(mended.output)] == ["q0"]


@pytest.mark.timeout(200)
def test_interactive_work_passes_a_batch(
    system: LocalSystem, running: Batches, tmp_path: Path, small_chunks: Cut
) -> None:
    given = records(3_000, seed=4)
    what = small_chunks(spec(write(tmp_path, given)), 50_000)
    batch_id = running.start(what)
    eventually(lambda: running.look(batch_id).done > 0, 60)
    with Client(system.url) as client:
        for _ in range(5):
            assert client.rerank("a license", ["of words", "and more"], timeout=20)
    assert not running.look(batch_id).final
    running.ledger.run(batches.stop(batch_id, JobStatus.CANCELLED))
    assert running.ended(batch_id).phase == "cancelled"


@pytest.mark.timeout(200)
def test_a_partitioned_output_is_its_parts(
    running: Batches, tmp_path: Path, small_chunks: Cut
) -> None:
    given = records(60, seed=5)
    folder = tmp_path / "out"
    what = spec(write(tmp_path, given), output=str(folder), partitioned=True)
    folder.mkdir()
    stray = folder / "part-0-of-another-model.jsonl"
    stray.write_text("{}\n")
    record = running.run(small_chunks(what, 3_000))
    assert record.phase == "completed"
    parts = sorted(folder.glob("part-*.jsonl"))
    assert len(parts) > 2
    assert stray not in parts
    ids = [one["id"] for part in parts for one in read(str(part))]
    assert ids == [one["id"] for one in given]
    assert json.loads((folder / "_SUCCESS").read_text())["parts"] == [part.name for part in parts]
