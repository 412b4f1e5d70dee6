"""What a manifest says to a process, read as Kubernetes would."""

from __future__ import annotations

import copy
import re
from typing import Any

PASSWORD = "secret"


def find(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)


def generated(objects: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The ConfigMap whose name kustomize has put a hash behind."""
    return next(
        o for o in objects if o["kind"] == "ConfigMap" and o["metadata"]["name"].startswith(name)
    )


def container(objects: list[dict[str, Any]], which: str) -> dict[str, Any]:
    """The one container of the API, a worker or Redis."""
    kind = "StatefulSet" if which == "redis" else "Deployment"
    pod = find(objects, kind, f"rerankq-{which}")["spec"]["template"]["spec"]
    (only,) = pod["containers"]
    found: dict[str, Any] = only
    return found


def environment(objects: list[dict[str, Any]], container: dict[str, Any]) -> dict[str, str]:
    """What the container's process sees, where of the Secrets only Redis's is made."""
    configs = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
    seen: dict[str, str] = {}
    for source in container["envFrom"]:
        seen |= configs[source["configMapRef"]["name"]]
    for variable in container["env"]:
        origin = variable.get("valueFrom", {})
        if ref := origin.get("configMapKeyRef"):
            value = configs[ref["name"]][ref["key"]]
        elif ref := origin.get("secretKeyRef"):
            if ref.get("optional"):
                continue
            value = PASSWORD
        elif origin:
            value = container["resources"]["limits"]["cpu"]
        else:
            value = re.sub(r"\$\((\w+)\)", lambda m: seen[m[1]], variable["value"])
        seen[variable["name"]] = value
    return seen


def _set_at(obj: dict[str, Any], path: str, value: Any) -> None:
    *way, last = path.split(".")
    there: Any = obj
    for step in way:
        there = there[int(step)] if isinstance(there, list) else there[step]
    there[last] = value


def broken(
    objects: list[dict[str, Any]], kind: str, name: str, path: str, value: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The same objects with one field set to what it should not be, and the object that has it."""
    changed = copy.deepcopy(objects)
    obj = find(changed, kind, name)
    _set_at(obj, path, value)
    return changed, obj
