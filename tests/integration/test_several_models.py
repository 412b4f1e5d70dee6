"""Two models behind one API: each request reaches its own, and each queue is its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import redis
from safetensors.torch import load_file, save_file

from api.app import create_app
from rerankq.errors import SettingsError
from rerankq.ledger.keys import queue_of
from rerankq.ledger.records import WorkerInfo
from rerankq.ledger.store import Ledger
from rerankq.ledgered import ledger_at
from rerankq.settings import Settings
from rerankq.status import Lane
from rerankq.tasks import make_task
from scripts.localsystem import LocalSystem
from tests.conftest import ROOT, CeleryAt, StartSystem, close_app, eventually

DEMO = "models/demo"
QUERY = "how do I stop a service?"
DOCUMENTS = ["systemctl stop NAME ends a unit.", "Knead the dough for ten minutes."]


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo model with half of its log-odds: what the head sees is halved.

    Its name has all that a path may have and a queue's or a script's text may trip over.
    """
    folder = tmp_path_factory.mktemp("models") / "it's*half\\{of}[é]"
    shutil.copytree(ROOT / DEMO, folder, ignore=shutil.ignore_patterns("golden.json"))
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] *= 0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


@pytest.fixture(scope="module")
def system(start_system: StartSystem, halved: str) -> LocalSystem:
    return start_system(models=halved)


@pytest.mark.parametrize("name", [DEMO, "an-alias"])
def test_a_further_model_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(SettingsError, match=f"RERANKQ_MODELS=other,{name}: {name} already names"):
        create_app(Settings(model=DEMO, model_aliases=("an-alias",), models=("other", name)))


@pytest.fixture
def http(system: LocalSystem) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=system.url, timeout=90) as client:
        yield client


def submit(http: httpx.Client, model: str | None, **fields: Any) -> dict[str, Any]:
    body = {"query": QUERY, "documents": DOCUMENTS, "model": model, "raw_scores": True} | fields
    answer = http.post("/v1/jobs", json=body, headers={"Prefer": "wait=30"})
    assert answer.status_code in (200, 202), answer.text
    job: dict[str, Any] = answer.json()
    return job


def by_index(job: dict[str, Any]) -> list[float]:
    results = sorted(job["results"], key=lambda result: result["index"])
    return [result["relevance_score"] for result in results]


def halves(scores: list[float]) -> Any:
    return pytest.approx([score / 2 for score in scores], abs=1e-3)


def test_a_job_is_scored_by_the_model_it_names(http: httpx.Client, halved: str) -> None:
    first, second, third = submit(http, None), submit(http, halved), submit(http, DEMO)
    assert [job["model"]["id"] for job in (first, second, third)] == [DEMO, halved, DEMO]
    assert by_index(first) == by_index(third)
    assert by_index(second) == halves(by_index(first))
    read = http.get(f"/v1/jobs/{second['id']}")
    assert read.json()["results"] == second["results"]
    assert http.get(f"/v1/jobs/{second['id']}/results").text.count("\n") == 2
    listed = [job["id"] for job in http.get("/v1/jobs", params={"limit": 3}).json()["data"]]
    assert listed == [third["id"], second["id"], first["id"]]
    page = http.get("/v1/jobs", params={"limit": 2}).json()
    rest = http.get("/v1/jobs", params={"limit": 1, "cursor": page["next_cursor"]}).json()
    assert [job["id"] for job in (*page["data"], *rest["data"])] == listed


def test_the_synchronous_form_names_it_too(http: httpx.Client, halved: str) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS, "model": halved}
    answer = http.post("/v1/rerank", json=body).json()
    assert answer["model"] == halved
    assert http.get(f"/v1/jobs/{answer['id']}").status_code == 200


def test_an_unknown_model_is_refused_with_the_list(http: httpx.Client, halved: str) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS, "model": "nobody/has-it"}
    refusal = http.post("/v1/jobs", json=body)
    assert refusal.status_code == 404
    assert refusal.json()["limit"] == f"{DEMO}, {halved}"
    assert http.get("/v1/queue", params={"model": "nobody/has-it"}).status_code == 404
    assert http.get("/v1/jobs/job_" + 40 * "0").status_code == 404


def test_what_is_served_is_listed_with_its_workers(http: httpx.Client, halved: str) -> None:
    def served() -> list[tuple[str, int]]:
        return [(each["id"], each["workers"]) for each in http.get("/v1/models").json()["data"]]

    # What the front knows may be a second old, and from before a worker's first heartbeat.
    eventually(lambda: served() == [(DEMO, 1), (halved, 1)], 5)
    assert http.get("/health").json()["workers"] == 2
    assert {worker["model"] for worker in http.get("/v1/workers").json()["data"]} == {DEMO, halved}


def test_health_says_whether_the_default_model_is_loaded(
    system: LocalSystem, http: httpx.Client
) -> None:
    workers = http.get("/v1/workers").json()["data"]
    default = next(worker["id"] for worker in workers if worker["model"] == DEMO)

    def without_default() -> bool:
        ledger.hset(f"rerankq:worker:{default}", "state", "draining")  # until its next heartbeat
        health = http.get("/health").json()
        return (health["status"], health["workers"], health["model_loaded"]) == ("ok", 1, False)

    with redis.Redis.from_url(system.redis_url) as ledger:
        eventually(without_default, 10)
    eventually(lambda: http.get("/health").json()["workers"] == 2)


def test_a_worker_that_lacks_the_list_is_reported_once(system: LocalSystem, halved: str) -> None:
    """It scores the default model's jobs by its own."""
    first = WorkerInfo(
        id="stray",
        state="draining",
        model=halved,
        revision="r",
        template="t",
        score_space="s",
        instruction=True,
        max_length=64,
        dtype="float32",
        device="cpu",
        attention="packed",
    )
    log = system.folder / "logs" / "api.log"

    def reported() -> list[str]:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line[0] == "{"]
        words = "a further model's worker lacks RERANKQ_MODELS"
        return [line["worker"] for line in lines if line["message"] == words]

    second = first.model_copy(update={"id": "stray-2"})
    with redis.Redis.from_url(system.redis_url) as client:
        ledger = Ledger(client)
        ledger.heartbeat(first, busy=0.0)
        eventually(reported, 10)
        ledger.heartbeat(second, busy=0.0)
        eventually(lambda: second.id in reported(), 10)  # by a look that saw the first again
        ledger.forget_worker(first.id)
        ledger.forget_worker(second.id)
    assert reported() == [first.id, second.id]


def test_one_models_lane_is_paused_and_the_other_goes_on(
    system: LocalSystem, http: httpx.Client, halved: str
) -> None:
    of_further = {"model": halved}
    http.post("/v1/lanes/interactive/pause", params=of_further)
    try:
        body = {"query": QUERY, "documents": DOCUMENTS, "model": halved}
        waiting = http.post("/v1/jobs", json=body).json()
        assert submit(http, None)["status"] == "succeeded"
        queue = http.get("/v1/queue", params=of_further).json()
        assert queue["backlog"] == 1
        assert queue["lanes"]["interactive"]["paused"]
        default = http.get("/v1/queue", params={"model": DEMO}).json()
        assert (default["backlog"], default["workers"]) == (0, 1)
        together = http.get("/v1/queue").json()
        assert (together["backlog"], together["workers"]) == (1, 2)
        series = http.get("/metrics").text.splitlines()
        escaped = halved.replace("\\", r"\\")
        labels = f'{{lane="interactive",model="{escaped}"}}'
        assert f"rerankq_queue_waiting{labels} 1.0" in series
        assert 'rerankq_queue_waiting{lane="interactive"} 0.0' in series
    finally:
        http.post("/v1/lanes/interactive/resume", params=of_further)
    done = http.get(f"/v1/jobs/{waiting['id']}", params={"wait": 30}).json()
    assert done["status"] == "succeeded"


def test_a_celery_task_goes_to_the_model_of_its_queue(
    system: LocalSystem, celery_at: CeleryAt, http: httpx.Client, halved: str
) -> None:
    arguments = {"query": QUERY, "documents": DOCUMENTS, "raw_scores": True}
    app, queue = celery_at(system.redis_url), queue_of(Lane.BULK, halved)
    bare = app.send_task("rerankq.rerank", kwargs=arguments, queue=queue).get(timeout=30)
    settings = Settings(redis_url=system.redis_url, model=DEMO, models=(halved,))
    task = make_task(settings)
    ledgered = task.apply_async(kwargs=arguments, queue=queue).get(timeout=30)
    default = task.apply_async(kwargs=arguments).get(timeout=30)
    close_app(task.app)
    for model in (None, halved):
        ledger_at(system.redis_url, model).close()
    assert bare["model"] == ledgered["model"] == halved
    assert default["model"] == DEMO
    assert by_index(bare) == by_index(ledgered) == halves(by_index(default))
    # The result was handed over: nothing is published again.
    eventually(lambda: not app.backend.client.exists(f"rerankq:{halved}:outbox:task"))


def test_a_killed_workers_work_goes_to_another_of_its_model(
    system: LocalSystem, http: httpx.Client, halved: str
) -> None:
    worker = system.child("worker-2")
    assert worker.process is not None
    worker.process.kill()
    worker.process.wait(10)
    body = {"query": QUERY, "documents": DOCUMENTS, "model": halved}
    job = http.post("/v1/jobs", json=body).json()
    assert submit(http, None)["status"] == "succeeded"
    assert http.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"
    system.spawn(worker)
    done = http.get(f"/v1/jobs/{job['id']}", params={"wait": 60}).json()
    assert done["model"]["id"] == halved
    assert done["status"] == "succeeded"
