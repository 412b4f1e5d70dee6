"""`rerankq bulk` through the API: what goes up, what comes down, what is not sent twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import eventually
from tests.integration.batch_service import BatchService, running
from tests.integration.command import begun, ended, run

POLL = ("--poll", "0.05")
INPUT = b'{"query": "a port?", "documents": ["ss", "dough"]}\n' * 5000


@pytest.fixture
def service() -> Iterator[BatchService]:
    with running() as service:
        yield service


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    source = tmp_path / "in.jsonl"
    source.write_bytes(INPUT)
    return source, tmp_path / "out.jsonl"


def start(service: BatchService, *args: object) -> subprocess.Popen[str]:
    return begun("bulk", *args, *POLL, url=service.url)


def newest(service: BatchService, *, after: int = 0) -> str:
    eventually(lambda: len(service.batches) > after)
    return [*service.batches][-1]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_local_file_goes_up_and_its_output_comes_down(
    service: BatchService, files: tuple[Path, Path]
) -> None:
    process = start(service, *files, "--json", "--top-k", "3", "--expires-in", "90")
    batch_id = newest(service)
    asked = service.asked[batch_id]
    assert service.files[asked["input_file_id"]] == INPUT
    assert (asked["input_format"], asked["output_format"], asked["top_k"]) == ("jsonl", "jsonl", 3)
    assert asked["completion_window"] == "2m"
    assert "output_uri" not in asked
    service.end(batch_id, b"ranked\n", errors=b"bad\n")
    said = ended(process)
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert (told["output"], told["pairs"], told["bad"]) == (str(files[1]), 10, 1)
    assert files[1].read_bytes() == b"ranked\n"
    assert Path(told["errors"]).read_bytes() == b"bad\n"
    assert left(files[0].parent) == ["in.jsonl", "out.jsonl", "out.jsonl.errors.jsonl"]


def test_what_is_done_is_not_sent_again(service: BatchService, files: tuple[Path, Path]) -> None:
    process = start(service, *files)
    service.end(newest(service), b"ranked\n")
    assert ended(process).code == 0
    again = ended(start(service, *files))
    assert (again.code, "done already" in again.err) == (0, True)
    # Its output is kept: it is fetched, nothing is scored again.
    files[1].unlink()
    assert ended(start(service, *files)).code == 0
    assert files[1].read_bytes() == b"ranked\n"
    assert (service.uploads(), len(service.batches)) == (1, 1)


def test_a_killed_command_sends_nothing_twice(
    service: BatchService, files: tuple[Path, Path]
) -> None:
    files[1].write_text("an older output")
    process = start(service, *files)
    batch_id = newest(service)
    eventually(lambda: batch_id in (files[1].parent / "out.jsonl.rerankq.json").read_text())
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    # It ends while nobody looks: what lies there is not its output.
    service.end(batch_id, b"ranked\n")
    said = ended(start(service, *files))
    assert said.code == 0, said.err
    assert files[1].read_bytes() == b"ranked\n"
    assert (service.uploads(), len(service.batches)) == (1, 1)
    assert left(files[0].parent) == ["in.jsonl", "out.jsonl"]


def test_a_failed_batch_is_begun_anew_with_the_same_upload(
    service: BatchService, files: tuple[Path, Path]
) -> None:
    process = start(service, *files)
    trouble = {"title": "t", "status": 500, "code": "odd", "detail": "why"}
    service.end(newest(service), errors=b"bad\n", status="failed", error=trouble)
    said = ended(process)
    assert (said.code, "odd: why" in said.err) == (1, True)
    assert (files[1].parent / "out.jsonl.errors.jsonl").read_bytes() == b"bad\n"
    process = start(service, *files)
    service.end(newest(service, after=1), b"ranked\n")
    assert ended(process).code == 0
    assert service.uploads() == 1


def test_urls_go_by_reference(service: BatchService, files: tuple[Path, Path]) -> None:
    process = start(service, "nowhere://b/in.jsonl", "nowhere://b/out.jsonl", "--partitioned")
    batch_id = newest(service)
    asked = service.asked[batch_id]
    assert (asked["input_uri"], asked["output_uri"]) == (
        "nowhere://b/in.jsonl",
        "nowhere://b/out.jsonl",
    )
    service.end(batch_id)
    assert ended(process).code == 0
    again = ended(start(service, "nowhere://b/in.jsonl", "nowhere://b/out.jsonl", "--partitioned"))
    assert (again.code, "done already" in again.err) == (0, True)

    process = start(service, files[0], "nowhere://b/mixed.jsonl")
    asked = service.asked[newest(service, after=1)]
    assert ("input_file_id" in asked, asked["output_uri"]) == (True, "nowhere://b/mixed.jsonl")
    service.end(newest(service), b"")
    assert ended(process).code == 0

    process = start(service, "nowhere://b/in.jsonl", files[1])
    asked = service.asked[newest(service, after=2)]
    assert (asked["input_uri"], "output_uri" in asked) == ("nowhere://b/in.jsonl", False)
    service.end(newest(service), b"ranked\n")
    assert ended(process).code == 0
    assert files[1].read_bytes() == b"ranked\n"
    assert service.uploads() == 1


def test_a_run_goes_up_with_its_corpus(service: BatchService, tmp_path: Path) -> None:
    for name in ("first.run", "corpus.jsonl", "queries.jsonl"):
        (tmp_path / name).write_text(f"{name}\n")
    corpus, queries = tmp_path / "corpus.jsonl", tmp_path / "queries.jsonl"
    out = tmp_path / "out.run"
    process = start(service, tmp_path / "first.run", out, "--corpus", corpus, "--queries", queries)
    batch_id = newest(service)
    asked = service.asked[batch_id]
    sent = {name: service.files[asked[f"{name}_file_id"]] for name in ("input", "corpus")}
    assert sent == {"input": b"first.run\n", "corpus": b"corpus.jsonl\n"}
    assert (asked["input_format"], asked["output_format"]) == ("trec", "trec")
    service.end(batch_id, b"ranked\n")
    assert ended(process).code == 0


def test_a_service_that_is_away_is_waited_for(
    service: BatchService, files: tuple[Path, Path]
) -> None:
    process = start(service, *files)
    batch_id = newest(service)
    eventually(lambda: f"GET /v1/batches/{batch_id}" in service.paths)
    service.refuse = 503
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(7)  # longer than a call is repeated
    service.refuse = 0
    service.end(batch_id, b"ranked\n")
    assert ended(process).code == 0


def test_refusals(service: BatchService, files: tuple[Path, Path]) -> None:
    folder = run("bulk", *files, "--partitioned", url=service.url)
    assert (folder.code, "--partitioned" in folder.err) == (2, True)
    elsewhere = run("bulk", *files, "--errors", "nowhere://b/bad", url=service.url)
    assert (elsewhere.code, "--errors" in elsewhere.err) == (2, True)
    packed = files[0].rename(files[0].with_suffix(".jsonl.gz"))
    said = run("bulk", packed, files[1], url=service.url)
    assert (said.code, "unpack it first" in said.err) == (2, True)
    packed.rename(files[0])
    service.refuse = 422
    refused = run("bulk", *files, url=service.url)
    assert (refused.code, "refused: no" in refused.err) == (1, True)
    assert service.uploads() == 0


def test_with_both_named_it_is_the_api(service: BatchService) -> None:
    said = run("batches", "--json", url=service.url, redis_url="redis://127.0.0.1:9/0")
    assert (said.code, json.loads(said.out)["data"]) == (0, [])
    assert service.paths == ["GET /v1/batches"]


def test_batches_shown_and_cancelled(service: BatchService, files: tuple[Path, Path]) -> None:
    process = start(service, *files)
    batch_id = newest(service)
    assert run("batches", "status", batch_id, url=service.url).code == 0
    assert run("batches", "cancel", batch_id, url=service.url).code == 0
    said = ended(process)
    assert (said.code, f"{batch_id} cancelled" in said.err) == (1, True)
    assert run("batches", "status", "batch_9", url=service.url).code == 1
