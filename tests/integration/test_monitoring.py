"""A real Prometheus on a real system: every rule and every panel has something to say."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from rerankq import Client
from scripts import monitoring
from scripts.localsystem import LocalSystem
from scripts.monitoring import (
    CONFIG,
    RULES,
    Expression,
    NoPrometheus,
    dashboard_expressions,
    find,
    rule_expressions,
    scaler_expressions,
)
from scripts.promql import asked, metrics
from scripts.redis_server import free_port
from tests.conftest import eventually

# What has nothing to say here, by a metric it names.
SILENT = {
    "rerankq_gpu_memory_bytes": "a machine without a GPU",
    "rerankq:gpu_memory_ratio": "a machine without a GPU",
    "rerankq:gpu_memory_foreign:bytes": "a machine without a GPU",
    "rerankq:gpu_memory_foreign:ratio": "a machine without a GPU",
    "kube_deployment_status_replicas": "no Kubernetes",
    "kube_pod_container_status_restarts_total": "no Kubernetes",
    "kube_pod_init_container_status_restarts_total": "no Kubernetes",
}
ABSENT = "RerankqUnavailable"  # asks for what must not be missing, and it is there
# A number as soon as what they tell of has happened between two scrapes.
MOVED = (
    "rerankq:batch_fill:ratio_rate5m",
    "rerankq:http_request_duration_seconds:p95_5m",
    'rerankq:job_duration_seconds:p95_5m{lane="interactive"}',
    'rerankq:job_duration_seconds:p95_5m{lane="bulk"}',
    "rerankq:job_errors:ratio_rate10m",
)
WITHIN_S = 30.0


@pytest.fixture(scope="session")
def server() -> str:
    """Its program; looked for before anything is started."""
    try:
        return find("prometheus")
    except NoPrometheus as error:
        missing = str(error)
    pytest.fail(missing, pytrace=False)


@pytest.fixture(scope="module")
def prometheus(
    server: str, demo_system: LocalSystem, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """One that scrapes the demo system each second, with the project's own configuration."""
    folder = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    command = [
        server,
        f"--config.file={_configuration(demo_system, folder)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as http:
            eventually(lambda: _ready(http))
            yield http
    finally:
        process.terminate()
        process.wait(10)


def _configuration(system: LocalSystem, folder: Path) -> Path:
    """The one for compose, with other targets and shorter times."""
    config = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(RULES / "*.yml")]
    workers = [child.probe for child in system.children if child.probe]
    targets = {"rerankq-api": system.urls, "rerankq-worker": workers}
    for job in config["scrape_configs"]:
        del job["dns_sd_configs"]
        hosts = [url.removeprefix("http://") for url in targets.pop(job["job_name"])]
        # With a namespace, as on Kubernetes: KEDA asks for one by name.
        job["static_configs"] = [{"targets": hosts, "labels": {"namespace": "rerankq"}}]
    assert not targets, "the configuration forgets a process"
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def query(http: httpx.Client, expression: str) -> list[dict[str, Any]]:
    answer = http.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", (expression, answer)
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def value(http: httpx.Client, expression: str) -> float:
    """The one value of an expression; NaN while there is none."""
    found = query(http, expression)
    return float(found[0]["value"][1]) if found else float("nan")


def work(system: LocalSystem) -> None:
    """A job of each lane, and a synchronous request."""
    documents = ["ss lists ports.", "Knead the dough.", "ps lists processes."]
    httpx.post(f"{system.url}/v1/rerank", json={"query": "ports", "documents": documents})
    with Client(system.url) as client:
        client.wait(client.submit("ports", documents, lane="bulk").id, 30)


@pytest.fixture(scope="module")
def at_work(prometheus: httpx.Client, demo_system: LocalSystem) -> httpx.Client:
    """The same once both targets were scraped, and work of each kind between two scrapes."""
    eventually(lambda: len(query(prometheus, "up == 1")) == 2)
    deadline = time.monotonic() + WITHIN_S
    while any(math.isnan(value(prometheus, moved)) for moved in MOVED):
        assert time.monotonic() < deadline, "no work was seen"
        work(demo_system)
        time.sleep(0.5)
    return prometheus


def unanswered(http: httpx.Client) -> list[Expression]:
    expressions = [*rule_expressions(), *dashboard_expressions(), *scaler_expressions()]
    return [
        expression
        for expression in expressions
        if expression.where != ABSENT
        and not metrics(expression.text) & set(SILENT)
        and not query(http, asked(expression.text))
    ]


def test_every_rule_and_every_panel_has_an_answer(at_work: httpx.Client) -> None:
    deadline = time.monotonic() + WITHIN_S
    while left := unanswered(at_work):
        assert time.monotonic() < deadline, [expression.where for expression in left]
        time.sleep(0.5)
    groups = at_work.get("/api/v1/rules").json()["data"]["groups"]
    health = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(health) == {expression.where for expression in rule_expressions()}
    assert set(health.values()) == {"ok"}, health
    assert not query(at_work, 'ALERTS{alertstate="firing"}')


@pytest.mark.parametrize(
    ("expression", "least", "most"),
    [
        ('rerankq:jobs:rate5m{status="succeeded", lane="bulk"}', 1e-6, 1000),
        ('rerankq:job_duration_seconds:p95_5m{lane="interactive"}', 1e-3, 30),
        ("rerankq:http_request_duration_seconds:p95_5m", 1e-3, 30),
        ("rerankq:http_errors:ratio_rate5m", 0, 0),
        ("rerankq:job_errors:ratio_rate10m", 0, 0),
        ("rerankq:batch_fill:ratio_rate5m", 1e-6, 1),
        ("rerankq:padding:ratio_rate5m", 0, 0.99),
        ("rerankq:batch_jobs:mean_rate5m", 1, 64),
        ("rerankq:workers:max", 1, 1),
        ("rerankq:drain_seconds:max", 0, 60),
        ("rerankq:redis_memory_ratio:max", 1e-6, 0.5),
        ("rerankq_worker_ready", 1, 1),
        ("rerankq_token_budget", 2048, 2048),
    ],
)
def test_what_is_computed_can_be_true(
    expression: str, least: float, most: float, at_work: httpx.Client
) -> None:
    eventually(lambda: least <= value(at_work, expression) <= most)


def broken(path: Path, old: str, new: str, tmp_path: Path) -> Path:
    text = path.read_text()
    assert old in text
    changed = tmp_path / path.name
    changed.write_text(text.replace(old, new))
    return changed


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("rerankq_token_budget{", "rerankq_tokens_budget{", "no metric rerankq_tokens_budget"),
        ("sum by (kind) (", "sum by (sort) (", "no label sort"),
        ("{{instance}} {{kind}}", "{{instance}} {{sort}}", "no label sort"),
        ("label_values(rerankq_workers,", "label_values(workers,", "no metric workers"),
    ],
)
def test_a_wrong_name_in_the_dashboard_is_found(
    old: str, new: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = broken(monitoring.DASHBOARD, old, new, tmp_path)
    monkeypatch.setattr(monitoring, "DASHBOARD", changed)
    assert any(found in problem for problem in monitoring.names_and_labels())


def test_a_wrong_name_in_a_scaler_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(monitoring.ROOT / "k8s" / "keda", tmp_path / "k8s" / "keda")
    path = tmp_path / "k8s" / "keda" / "api-requests" / "scaledobject.yaml"
    path.write_text(path.read_text().replace("requests_total", "request_total"))
    monkeypatch.setattr(monitoring, "ROOT", tmp_path)
    assert list(monitoring.names_and_labels()) == [
        "keda/api-requests requests: there is no metric rerankq_http_request_total"
    ]


@pytest.mark.parametrize(("old", "new"), [("byRegexp", "byName"), ("/^backlog", "/^back log")])
def test_an_override_that_finds_no_series_is_found(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = broken(monitoring.DASHBOARD, old, new, tmp_path)
    monkeypatch.setattr(monitoring, "DASHBOARD", changed)
    (found,) = monitoring.dashboard_sound()
    assert "Replicas against backlog" in found


def test_an_alert_that_nobody_explains_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = broken(monitoring.RUNBOOK, "### RerankqDrainTime", "### Other", tmp_path)
    monkeypatch.setattr(monitoring, "RUNBOOK", changed)
    assert list(monitoring.alerts_complete()) == ["RerankqDrainTime: not in docs/runbook.md"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("rerankq:drain_seconds:max > 3600", "rerankq:drain_seconds:max > 36000"),
        ("rerankq_queue_oldest_seconds)", "rerankq_queue_waiting)"),
        ("for: 30m", "for: 3m"),
    ],
)
def test_a_changed_rule_fails_its_test(old: str, new: str, tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    shutil.copytree(RULES, folder)
    for path in folder.glob("*.yml"):
        path.write_text(path.read_text().replace(old, new))
    assert list(monitoring.promtool("test", "rules", str(folder / "tests" / "queue.yml")))
