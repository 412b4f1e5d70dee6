"""The public task, called by an app that knows nothing of this project but the names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery, chord, group
from celery.exceptions import TaskRevokedError

from rerankq import Client
from scripts.localsystem import LocalSystem
from tests.conftest import CeleryAt

QUERY = "how do I see which process uses a network port?"
DOCUMENTS = [
    "Knead the dough for ten minutes.",
    "ss lists the network ports with the process that uses each of them.",
]
BULK = {"queue": "rerankq.bulk"}


@pytest.fixture(scope="module")
def app(demo_system: LocalSystem, celery_at: CeleryAt) -> Celery:
    return celery_at(demo_system.redis_url)


def call(app: Celery, **changes: Any) -> Any:
    return app.signature(
        "rerankq.rerank", kwargs={"query": QUERY, "documents": DOCUMENTS} | changes, **BULK
    )


def test_send_task_returns_the_ranking(app: Celery, client: Client) -> None:
    kwargs = {"query": QUERY, "documents": DOCUMENTS}
    ranking = app.send_task("rerankq.rerank", kwargs=kwargs, **BULK).get(timeout=30)
    assert [r["index"] for r in ranking["results"]] == [1, 0]
    assert set(ranking) == {"model", "results", "usage"}
    assert ranking["usage"]["total_tokens"] > 0
    same = client.rerank(QUERY, DOCUMENTS)
    for ours, theirs in zip(same, ranking["results"], strict=True):
        assert theirs["relevance_score"] == pytest.approx(ours.relevance_score, abs=1e-5)


def test_every_argument(app: Celery) -> None:
    one = call(app, top_n=1, return_documents=True, raw_scores=True, instruction="find it")
    ranking = one.apply_async().get(timeout=30)
    assert len(ranking["results"]) == 1
    assert ranking["results"][0]["document"] == {"text": DOCUMENTS[1]}
    assert isinstance(ranking["results"][0]["relevance_score"], float)
    positional = app.send_task(
        "rerankq.rerank", args=[QUERY, DOCUMENTS], queue="rerankq.interactive"
    )
    assert len(positional.get(timeout=30)["results"]) == 2


def test_group(app: Celery) -> None:
    results = group(call(app, documents=[f"text {n}"] * (n + 1)) for n in range(10)).apply_async()
    rankings = results.get(timeout=60)
    assert [len(r["results"]) for r in rankings] == list(range(1, 11))


def test_chord(app: Celery) -> None:
    """The body is a task of ours too: the group's results come as its first argument."""
    header = [call(app, documents=[f"text {n}"]) for n in range(5)]
    body = app.signature(
        "rerankq.rerank", kwargs={"query": QUERY, "documents": DOCUMENTS}, immutable=True, **BULK
    )
    ranking = chord(header)(body).get(timeout=60)
    assert [r["index"] for r in ranking["results"]] == [1, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": " "}, "query: must not be blank"),
        ({"query": "\ud800"}, "query: must be valid Unicode"),
        ({"instruction": ""}, "instruction: must not be blank"),
        ({"documents": []}, "documents: must have at least 1"),
        ({"documents": ["d"] * 1001}, "documents: 1001 given; the limit is 1000 a task"),
        ({"documents": [7]}, "documents.0: must be a string"),
        ({"top_n": 0}, "top_n: must be at least 1"),
        ({"top_n": True}, "top_n: must be a whole number"),
        ({"query": "word " * 12_000}, "query: 1"),
    ],
)
def test_bad_arguments_fail_with_the_name_and_the_limit(
    app: Celery, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(app, **changes).apply_async().get(timeout=30)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ([], {"query": "q"}, "missing a required argument: 'documents'"),
        ([], {"query": "q", "documents": ["d"], "foo": 1}, "unexpected keyword argument 'foo'"),
        (["q", ["d"], None, None, False, False, 7], {}, "too many positional arguments"),
    ],
)
def test_arguments_that_do_not_fit_are_the_callers_mistake(
    app: Celery, args: list[Any], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        app.send_task("rerankq.rerank", args=args, kwargs=kwargs, **BULK).get(timeout=30)


def test_many_tasks_are_coalesced(app: Celery, demo_system: LocalSystem) -> None:
    probe = str(demo_system.child("worker-1").probe)
    before = shared_batches(probe)
    results = group(call(app, documents=DOCUMENTS * 3) for _ in range(100)).apply_async()
    assert len(results.get(timeout=120)) == 100
    assert shared_batches(probe) > before


def shared_batches(probe: str) -> float:
    """Batches so far that held pairs of more than one task."""
    text = httpx.get(f"{probe}/metrics").text
    buckets = re.findall(r'^rerankq_batch_jobs_bucket{le="(\S+)"} (\S+)$', text, re.MULTILINE)
    upto = {le: float(count) for le, count in buckets}
    return upto["+Inf"] - upto["1.0"]


def test_revoked_and_expired_tasks_are_not_scored(app: Celery) -> None:
    revoked = call(app).apply_async(countdown=3600)
    app.control.revoke(revoked.id, reply=True, timeout=5)
    expired = call(app).apply_async(expires=-1)
    with pytest.raises(TaskRevokedError):
        expired.get(timeout=30)


def test_the_wheels_task_keeps_texts_out_of_the_headers(demo_system: LocalSystem) -> None:
    code = (
        "from rerankq.tasks import app, rerank;"
        "seen = [];"
        "from celery.signals import before_task_publish;"
        "before_task_publish.connect(lambda headers=None, **_: seen.append(headers), weak=False);"
        "rerank.delay(query='unspeakable', documents=['confidential']).get(timeout=30);"
        "print(seen)"
    )
    said = elsewhere(code, demo_system)
    assert "argsrepr" in said
    assert "unspeakable" not in said
    assert "confidential" not in said


def test_no_argument_reaches_a_log(app: Celery, demo_system: LocalSystem) -> None:
    call(app, query="unspeakable", documents=["confidential"]).apply_async().get(timeout=30)
    with pytest.raises(ValueError, match="documents"):
        call(app, query="unspeakable", documents=["confidential", 7]).apply_async().get(timeout=30)
    log = (demo_system.folder / "logs" / "worker-1.log").read_text()
    assert "unspeakable" not in log
    assert "confidential" not in log


def test_the_signature_of_the_wheel(demo_system: LocalSystem, tmp_path: Path) -> None:
    """As an ETL machine would: another process, only the environment says where Redis is."""
    code = (
        "import json; from rerankq.tasks import rerank;"
        f"print(json.dumps(rerank.delay(query={QUERY!r}, documents={DOCUMENTS!r}).get(timeout=30)))"
    )
    said = elsewhere(code, demo_system)
    assert [r["index"] for r in json.loads(said)["results"]] == [1, 0]


def elsewhere(code: str, system: LocalSystem) -> str:
    """Run it as an ETL machine would: another process that is only told where Redis is."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"RERANKQ_REDIS_URL": system.redis_url},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
