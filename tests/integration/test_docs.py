"""What the documents show is true: code runs, commands answer, links and tables hold."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

import api.metrics
import worker.metrics
from rerankq import Client, cli
from rerankq.settings import unknown_variables
from scripts import monitoring
from scripts.localsystem import LocalSystem
from tests.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
PROSE = [
    *DOCUMENTS,
    *(ROOT / name for name in ("CHANGELOG.md", "benchmarks/RESULTS.md", "models/demo/README.md")),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")
PLACE = re.compile(r"`(\w+)(?:\.(\w+))?`\s+in\s+`([\w/]+\.py)`")


def blocks(language: str) -> list[object]:
    return [
        pytest.param(code, id=f"{path.name}-{n}")
        for path in DOCUMENTS
        for n, (found, code) in enumerate(BLOCK.findall(path.read_text()))
        if found == language
    ]


def here(code: str, system: LocalSystem) -> str:
    """The same code, pointed at the test's own system."""
    code = code.replace("http://127.0.0.1:8000", system.url)
    return code.replace("redis://127.0.0.1:6379/0", system.redis_url)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_runs(code: str, demo_system: LocalSystem) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", here(code, demo_system)],
        env=os.environ | {"RERANKQ_REDIS_URL": demo_system.redis_url},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", blocks("bash"))
def test_commands_answer(code: str, demo_system: LocalSystem, client: Client) -> None:
    job = client.submit("q", ["d"])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", here(code, demo_system)],
        env=os.environ | {"JOB": job.id},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert '"rerank.job"' in done.stdout


@pytest.mark.parametrize("code", blocks("sh"))
def test_shell_lines_end_well(code: str, demo_system: LocalSystem, client: Client) -> None:
    scripts = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=ROOT,
        env=os.environ
        | {
            "JOB": client.submit("q", ["d"]).id,
            "RERANKQ_URL": demo_system.url,
            "PATH": f"{scripts}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def anchors(path: Path) -> set[str]:
    """Of a document's headings, as GitHub makes them."""
    text = BLOCK.sub("", path.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.parent.name + "/" + path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target, anchor in LINK.findall(BLOCK.sub("", path.read_text())):
        there = path.parent / target if target else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


def test_what_the_architecture_names_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for path in re.findall(r"`((?:rerankq|api|worker|scripts)/[\w/.*-]+)`", text):
        assert list(ROOT.glob(path.rstrip("/"))), path
    parts = ("rerankq", "api", "worker")
    files = {path.name for part in parts for path in (ROOT / part).rglob("*.*")}
    assert set(re.findall(r"`(\w+\.(?:py|lua))`", text)) <= files
    places = PLACE.findall(text)
    assert len(places) > 10
    for name, inner, path in places:
        outer = defined(ast.parse((ROOT / path).read_text()))
        assert name in outer, f"{name} in {path}"
        assert not inner or inner in defined(outer[name]), f"{name}.{inner} in {path}"


def defined(node: Any) -> dict[str, Any]:
    """Classes and functions right there, by name."""
    return {each.name: each for each in node.body if hasattr(each, "name")}


@pytest.mark.parametrize("part", ["worker", "worker/bulk", "worker/engine"])
def test_the_architecture_names_every_part_of_the_worker(part: str) -> None:
    named = re.findall(r"\w+\.py", (ROOT / "ARCHITECTURE.md").read_text())
    assert {path.name for path in (ROOT / part).glob("*.py")} <= {"__init__.py", *named}


def metrics_of(module: object) -> dict[str, tuple[str, str, str]]:
    found = {}
    for metric in vars(module).values():
        if isinstance(metric, MetricWrapperBase | api.metrics.LedgerMetric):
            (family,) = metric.collect()
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = ", ".join(metric._labelnames)
            found[name] = (family.type, labels, family.documentation)
    return found


def test_the_table_of_metrics_is_the_code_s() -> None:
    rows = re.findall(
        r"^\| `(rerankq_\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$",
        (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE,
    )
    documented = {name: (kind, labels, text) for name, kind, labels, text in rows}
    collected = {
        f"{family.name}_total": ("counter", "", family.documentation)
        for family in worker.metrics.REDELIVERIES.collect()
    }
    expected = metrics_of(api.metrics) | metrics_of(worker.metrics) | collected
    assert documented == expected


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_metric_setting_and_verb_that_is_named_exists(path: Path) -> None:
    text = path.read_text()
    series, _ = monitoring.exposed()
    metrics = series | {re.sub(r"_(bucket|count|sum)$", "", name) for name in series}
    assert set(re.findall(r"\brerankq_\w+", text)) <= metrics
    assert unknown_variables(dict.fromkeys(re.findall(r"\bRERANKQ_\w+\b", text), "")) == []
    (verbs,) = (action.choices for action in cli._parser()._actions if action.choices)
    assert set(re.findall(r"`rerankq ([a-z]+)", text)) <= set(verbs)


def logged() -> Iterator[tuple[str, bool]]:
    """Every message of our logs, and whether it is a warning or worse."""
    for part in ("api", "worker", "rerankq"):
        for path in sorted((ROOT / part).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                match node:
                    case ast.Call(
                        ast.Attribute(ast.Name("log"), level),
                        [ast.Constant(str() as message), *_],
                    ):
                        yield message, level not in ("debug", "info")


def test_the_runbook_explains_every_warning() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    table = text.partition("### What the logs say")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \| (?:API|worker|both) \|", table, re.MULTILINE)
    explained = {line for row in rows for line in re.findall(r"`(.*?)`", row)}
    messages = set(logged())
    assert {message for message, worrying in messages if worrying} <= explained
    by_the_cache = {"scores not kept", "no score looked up"}  # said by a method of its own
    assert explained - by_the_cache <= {message for message, _ in messages}
