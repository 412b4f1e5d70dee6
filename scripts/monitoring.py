"""Rules, alerts and the dashboard: sound, tested, explained, and about metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import REGISTRY

import api.metrics
import worker.metrics
from scripts import promql
from scripts.install_prometheus import HOW

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config"
RULES = CONFIG / "rules"
DASHBOARD = CONFIG / "dashboards" / "rerankq.json"
RUNBOOK = ROOT / "docs" / "runbook.md"
SEVERITIES = {"page", "ticket"}

# Metrics that are not ours, and who brings them.
FOREIGN = {
    "up": "Prometheus itself: whether a target answers",
    "ALERTS": "Prometheus itself: alerts that wait or fire",
    "process_start_time_seconds": "prometheus_client, in each of our processes",
    "kube_deployment_status_replicas": "kube-state-metrics",
    "kube_pod_container_status_restarts_total": "kube-state-metrics",
    "kube_pod_init_container_status_restarts_total": "kube-state-metrics",
}
# Labels that Prometheus, its discovery and kube-state-metrics add.
FOREIGN_LABELS = {"job", "instance", "namespace", "pod", "container", "deployment"}
FOREIGN_LABELS |= {"alertname", "alertstate", "severity", "le"}
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


class NoPrometheus(Exception):
    """It is not installed; the message says how to get it."""


@dataclass(frozen=True)
class Expression:
    """One expression, and where it stands."""

    where: str
    text: str
    legend: str = ""


def find(tool: str) -> str:
    """The path of `promtool` or `prometheus`.

    Raises: NoPrometheus.
    """
    if path := shutil.which(tool):
        return path
    raise NoPrometheus(f"no {tool} on the PATH; {HOW}")


def rules() -> list[dict[str, Any]]:
    """All recording rules and alerts."""
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def rule_expressions() -> list[Expression]:
    return [Expression(rule.get("record") or rule["alert"], rule["expr"]) for rule in rules()]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard()["panels"]
    return found


def dashboard_expressions() -> list[Expression]:
    """What the panels ask for, and the metrics whose labels the variables list."""
    variables = [
        Expression(f"variable {variable['name']}", found[1])
        for variable in dashboard()["templating"]["list"]
        if (found := re.match(r"label_values\((.+), \w+\)", variable["query"]))
    ]
    return variables + [
        Expression(
            f"{panel['title']} {target['refId']}",
            promql.filled_in(target["expr"]),
            target.get("legendFormat", ""),
        )
        for panel in panels()
        for target in panel.get("targets", [])
    ]


def scaler_expressions() -> list[Expression]:
    """What KEDA asks Prometheus; a name that is not there would be its fallback for ever."""
    found = []
    for path in sorted((ROOT / "k8s" / "keda").glob("*/scaledobject.yaml")):
        for trigger in yaml.safe_load(path.read_text())["spec"]["triggers"]:
            if trigger["type"] == "prometheus":
                where = f"keda/{path.parent.name} {trigger['name']}"
                found.append(Expression(where, trigger["metadata"]["query"]))
    return found


def exposed() -> tuple[set[str], set[str]]:
    """Names of series our processes show, and of their labels."""
    names = {
        family.name + suffix
        for family in REGISTRY.collect()
        for suffix in _SUFFIXES.get(family.type, ("",))
        if family.name.startswith("rerankq_")
    }
    families = (*vars(api.metrics).values(), *vars(worker.metrics).values())
    return names, {label for family in families for label in getattr(family, "_labelnames", ())}


def names_and_labels() -> Iterator[str]:
    """Every metric and every label that is named exists."""
    ours, our_labels = exposed()
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used: set[str] = set()
    for expression in (*rule_expressions(), *dashboard_expressions(), *scaler_expressions()):
        metrics = promql.metrics(expression.text)
        used |= metrics
        for name in sorted(metrics - ours - recorded - set(FOREIGN)):
            yield f"{expression.where}: there is no metric {name}"
        labels = promql.labels(expression.text)
        labels |= set(re.findall(r"\{\{\s*(\w+)\s*\}\}", expression.legend))
        for name in sorted(labels - our_labels - FOREIGN_LABELS):
            yield f"{expression.where}: there is no label {name}"
    yield from (f"{name}: nothing uses it any more" for name in sorted(set(FOREIGN) - used))


def alerts_complete() -> Iterator[str]:
    """Each alert has a severity, a section of the runbook, a test that fires and one that not."""
    fires, quiet = tested()
    headings = set(re.findall(r"^#+ (Rerankq\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    alerts = {rule["alert"]: rule for rule in rules() if "alert" in rule}
    for name, rule in alerts.items():
        if rule["labels"].get("severity") not in SEVERITIES:
            yield f"{name}: its severity is none of {', '.join(sorted(SEVERITIES))}"
        if rule["annotations"].get("runbook_url") != f"docs/runbook.md#{name.lower()}":
            yield f"{name}: its runbook_url does not lead to its section"
        if name not in fires:
            yield f"{name}: no test makes it fire"
        if name not in quiet:
            yield f"{name}: no test has it quiet"
    yield from (f"{name}: not in docs/runbook.md" for name in sorted(set(alerts) - headings))
    yield from (f"docs/runbook.md: no alert {name}" for name in sorted(headings - set(alerts)))


def tested() -> tuple[set[str], set[str]]:
    """Alerts that a test makes fire, and alerts that one expects to be quiet."""
    cases = [
        case
        for path in sorted((RULES / "tests").glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["tests"]
        for case in group.get("alert_rule_test", [])
    ]
    fires = {case["alertname"] for case in cases if case["exp_alerts"]}
    return fires, {case["alertname"] for case in cases if not case["exp_alerts"]}


def dashboard_sound() -> Iterator[str]:
    """Panels can be told apart and say what they show; their expressions and KEDA's parse."""
    ids = [panel["id"] for panel in panels()]
    if len(ids) != len(set(ids)):
        yield "dashboard: two panels have one id"
    for panel in panels():
        if panel["type"] != "row" and not (panel.get("description") and panel.get("targets")):
            yield f"dashboard: {panel['title']} has no description, or nothing to show"
        yield from _overrides(panel)
    group = {
        "name": "dashboard",
        "rules": [
            {"record": f"panel:{n}", "expr": expression.text}
            for n, expression in enumerate([*dashboard_expressions(), *scaler_expressions()])
        ],
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        yaml.safe_dump({"groups": [group]}, file)
        file.flush()
        yield from promtool("check", "rules", file.name)


def _overrides(panel: dict[str, Any]) -> Iterator[str]:
    """An override finds a series. By a pattern: a legend may end in labels or not."""
    legends = [target.get("legendFormat", "") for target in panel.get("targets", [])]
    for override in panel.get("fieldConfig", {}).get("overrides", []):
        kind, wanted = override["matcher"]["id"], override["matcher"]["options"]
        if kind != "byRegexp" or not any(re.search(wanted.strip("/"), each) for each in legends):
            yield f"dashboard: {panel['title']}: no series for the override {kind} {wanted}"


def promtool(*args: str) -> Iterator[str]:
    """What it says, if it is not content."""
    done = subprocess.run([find("promtool"), *args], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        yield f"promtool {' '.join(args[:2])}: {done.stdout}{done.stderr}".rstrip()


def problems() -> Iterator[str]:
    yield from promtool("check", "config", str(CONFIG / "prometheus.yml"))
    yield from promtool("check", "rules", "--lint=all", "--lint-fatal", *_paths(RULES))
    yield from promtool("test", "rules", *_paths(RULES / "tests"))
    yield from names_and_labels()
    yield from alerts_complete()
    yield from dashboard_sound()


def _paths(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.yml"))]


def main() -> int:
    try:
        found = list(problems())
    except NoPrometheus as error:
        found = [str(error)]
    print("\n".join(found) or f"{len(rules())} rules and {len(panels())} panels are sound")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
