"""The issue at hand: many clients, large jobs, every model family, through the whole system."""

from __future__ import annotations

import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from rerankq import Client, Job, JobStatus
from scripts.localsystem import LocalSystem
from tests.conftest import StartSystem, eventually
from tests.models import FAMILIES, ROOT
from tests.reference import Reference

WORDS = (ROOT / "LICENSE").read_text().split()
TOLERANCE = 1e-5


def text(rng: random.Random, longest: int) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, longest)))


def sample(probe: str, name: str) -> float:
    found = re.search(
        rf"^{re.escape(name)} (\S+)$", httpx.get(f"{probe}/metrics").text, re.MULTILINE
    )
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("family", ["demo", "xlm-roberta", "deberta"])
@pytest.mark.timeout(300)
def test_scores_through_the_system_equal_the_reference(
    family: str, start_system: StartSystem, tmp_path: Path
) -> None:
    """Whatever they are batched with, in whatever order."""
    folder = ROOT / "models" / "demo" if family == "demo" else FAMILIES[family](tmp_path)
    reference = Reference(folder)
    rng = random.Random(family)
    jobs = [
        (text(rng, 8), [text(rng, 60) for _ in range(rng.randint(1, 12))] + ["", "é 東京 🙂"])
        for _ in range(12)
    ]
    system = start_system(model=str(folder), device="cpu", dtype="float32")
    with Client(system.url) as client, ThreadPoolExecutor(len(jobs)) as pool:
        rankings = list(pool.map(lambda job: client.rerank(*job), jobs))
    seen = set()
    for (query, documents), ranking in zip(jobs, rankings, strict=True):
        assert sorted(result.index for result in ranking) == list(range(len(documents)))
        for result in ranking:
            expected = reference(query, documents[result.index])
            assert result.relevance_score == pytest.approx(expected, abs=TOLERANCE)
            seen.add(round(expected, 3))
    assert len(seen) > 20, "the model tells too little apart for this to prove anything"
    system.stop()


@pytest.mark.timeout(400)
def test_200_jobs_from_20_clients_share_batches_and_never_mix(start_system: StartSystem) -> None:
    system = start_system()
    probe = str(system.child("worker-1").probe)
    rng = random.Random(5)
    # Every document names its job, so that a result can be checked against its own texts.
    jobs = [
        (f"query {n}", [f"{n} {i} {rng.choice(WORDS)}" for i in range(rng.randint(1, 300))])
        for n in range(200)
    ]

    def client_of(number: int) -> list[tuple[int, Job]]:
        with Client(system.url) as client:
            mine = range(number, len(jobs), 20)
            ids = [(n, client.submit(*jobs[n], return_documents=True).id) for n in mine]
            return [(n, client.wait(job_id, 300)) for n, job_id in ids]

    with ThreadPoolExecutor(20) as pool:
        done = dict(pair for pairs in pool.map(client_of, range(20)) for pair in pairs)
    assert len(done) == 200
    for n, job in done.items():
        documents = jobs[n][1]
        assert job.status is JobStatus.SUCCEEDED
        assert job.progress.scored == len(documents)
        results = job.results or []
        assert sorted(r.index for r in results) == list(range(len(documents)))
        assert all(r.document and r.document.text == documents[r.index] for r in results)
        scores = [r.relevance_score for r in results]
        assert scores == sorted(scores, reverse=True)
    batches = sample(probe, "rerankq_batch_jobs_count")
    alone = sample(probe, 'rerankq_batch_jobs_bucket{le="1.0"}')
    assert alone < batches, "no batch held pairs of several jobs"
    assert sample(probe, "rerankq_pairs_scored_total") == sum(len(d) for _, d in jobs)
    with Client(system.url) as client:
        assert client.queue().backlog == 0


@pytest.mark.timeout(600)
def test_a_large_job_progresses_and_a_small_one_behind_it_is_not_blocked(
    start_system: StartSystem,
) -> None:
    system = start_system()
    rng = random.Random(9)
    documents = [f"{rng.choice(WORDS)} {rng.choice(WORDS)} {n}" for n in range(20_000)]
    with Client(system.url) as client:
        started = time.monotonic()
        large = client.submit("a large job", documents)
        progress = [client.get(large.id).progress.scored]
        eventually(lambda: client.get(large.id).status is JobStatus.RUNNING)
        eventually(lambda: client.get(large.id).progress.scored > 0, 60)
        small_started = time.monotonic()
        small = client.wait(client.submit("a small job", documents[:5]).id, 60)
        small_s = time.monotonic() - small_started
        assert small.status is JobStatus.SUCCEEDED
        assert client.get(large.id).status is JobStatus.RUNNING
        partial = client.get(large.id, partial=True)
        assert 0 < len(partial.results or []) < 20_000
        while not (job := client.get(large.id, wait=1)).status.final:
            progress.append(job.progress.scored)
        large_s = time.monotonic() - started
        assert job.status is JobStatus.SUCCEEDED
        results = job.results or []
        assert sorted(r.index for r in results) == list(range(20_000))
        scores = [r.relevance_score for r in results]
        assert scores == sorted(scores, reverse=True)
        assert len(set(progress)) > 3, "progress did not move"
        assert progress == sorted(progress)
        assert sum(1 for _ in client.results(large.id)) == 20_000
        assert small_s < large_s / 20, (small_s, large_s)


def test_a_request_id_follows_the_job_into_the_workers_log(start_system: StartSystem) -> None:
    system: LocalSystem = start_system(log_level="debug")
    body = {"query": "private words", "documents": ["confidential text"]}
    headers = {"X-Request-ID": "trace-me-42", "Prefer": "wait=30"}
    answer = httpx.post(f"{system.url}/v1/jobs", json=body, headers=headers, timeout=40)
    assert answer.status_code == 200
    logs = [system.folder / "logs" / f"{name}.log" for name in ("api", "worker-1")]
    eventually(lambda: all("trace-me-42" in log.read_text() for log in logs))
    for log in logs:
        assert "private" not in log.read_text()
        assert "confidential" not in log.read_text()
