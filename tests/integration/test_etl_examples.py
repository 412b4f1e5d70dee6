"""examples/etl: each runs as it stands, against a real system."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.etl import airflow_deferred, dagster_asset, prefect_flow, script
from rerankq import Client
from scripts.localsystem import LocalSystem
from tests.conftest import ROOT, StartSystem, clean_environment, close_app, eventually

INPUT = ROOT / "examples" / "bulk" / "requests.jsonl"
BEST = {"q1": "ss", "q2": "du"}


@pytest.fixture(scope="module")
def system(start_system: StartSystem) -> LocalSystem:
    return start_system()


@pytest.fixture
def client(system: LocalSystem) -> Iterator[Client]:
    with Client(system.url, retry_for=5) as client:
        yield client


def check(output: Path) -> None:
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert {record["id"]: record["results"][0]["id"] for record in records} == BEST


def test_the_script(client: Client, tmp_path: Path) -> None:
    assert script.rerank_file(client, INPUT, tmp_path / "out.jsonl") == len(BEST)
    check(tmp_path / "out.jsonl")


def test_airflow_s_functions(client: Client, tmp_path: Path) -> None:
    batch_id = airflow_deferred.submit(client, INPUT, "run-1")
    assert airflow_deferred.submit(client, INPUT, "run-1") == batch_id
    eventually(lambda: airflow_deferred.is_done(client, batch_id))
    airflow_deferred.fetch(client, batch_id, tmp_path / "out.jsonl")
    check(tmp_path / "out.jsonl")


def test_prefect_s_and_dagster_s(
    system: LocalSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RERANKQ_URL", system.url)
    monkeypatch.chdir(ROOT)
    told = prefect_flow.reranked(INPUT, tmp_path / "out.jsonl", "--poll", "0.2")
    assert told["status"] == "completed"
    check(tmp_path / "out.jsonl")

    (tmp_path / "candidates").mkdir()
    shutil.copy(INPUT, tmp_path / "candidates" / "monday.jsonl")
    first = dagster_asset.reranked(tmp_path, "monday")
    assert (first["records"], first["already_there"]) == (len(BEST), False)
    assert dagster_asset.reranked(tmp_path, "monday")["already_there"]
    check(tmp_path / "reranked" / "monday.jsonl")


def test_the_chord(system: LocalSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RERANKQ_REDIS_URL", system.redis_url)
    pipeline = importlib.import_module("examples.etl.celery_chord")
    requests = [
        ("which process uses a port?", ["Knead the dough.", "ss lists the network ports."]),
        (
            "how large is a folder?",
            ["du -sh shows how much space a folder takes on the disk.", "Knead the dough."],
        ),
    ]
    line = [sys.executable, "-m", "celery", "-A", pipeline.__name__, "worker"]
    worker = subprocess.Popen(
        [*line, "--pool", "solo", "--queues", "pipeline"],
        cwd=ROOT,
        env=clean_environment(RERANKQ_REDIS_URL=system.redis_url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert pipeline.best_of_each(requests).get(timeout=60) == [1, 0]
    finally:
        worker.terminate()
        worker.wait(20)
        close_app(pipeline.app)
