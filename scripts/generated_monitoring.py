"""k8s/monitoring/generated.yaml: the rules and dashboards of config/ as objects of Kubernetes.

Generated, because kustomize reads no files outside its own folder, and compose wants the same files
as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ROOT / "k8s" / "monitoring" / "generated.yaml"
RULES = ROOT / "config" / "rules"
DASHBOARDS = ROOT / "config" / "dashboards"
HEAD = "# By `python -m scripts.manifests --write`, from config/rules and config/dashboards.\n"


def write() -> None:
    GENERATED.write_text(_text())


def is_stale() -> bool:
    return GENERATED.read_text() != _text()


def _text() -> str:
    objects = [_rules(), *map(_dashboard, sorted(DASHBOARDS.glob("*.json")))]
    dumped: str = yaml.safe_dump_all(
        objects, width=10_000, explicit_start=True, sort_keys=False, allow_unicode=True
    )
    return HEAD + dumped


def _rules() -> dict[str, Any]:
    groups = [
        group
        for path in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "rerankq"},
        "spec": {"groups": groups},
    }


def _dashboard(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        # The label by which Grafana's sidecar finds it.
        "metadata": {"name": f"rerankq-{path.stem}", "labels": {"grafana_dashboard": "1"}},
        "data": {path.name: json.dumps(content, separators=(",", ":"))},
    }
