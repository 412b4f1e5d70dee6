"""The workers' ScaledObject as KEDA and the HPA that it makes evaluate it."""

from __future__ import annotations

import re
from typing import Any

import redis
import yaml

from benchmarks.autoscaling.hpa import by_average_value
from tests.conftest import ROOT

SPEC: dict[str, Any] = yaml.safe_load((ROOT / "k8s/keda/worker/scaledobject.yaml").read_text())[
    "spec"
]
MODIFIERS = SPEC["advanced"]["scalingModifiers"]
# KEDA's redis trigger asks for a key's size by its type.
_SIZES = {"zset": "ZCARD", "set": "SCARD", "list": "LLEN", "hash": "HLEN", "none": "LLEN"}


def value(**counts: int) -> float:
    """The formula as KEDA computes it: a size for each trigger, the result cut to thousandths."""
    python = re.sub(
        r"\(([^()]+) \? ([^()]+) : ([^()]+)\)", r"(\2 if \1 else \3)", MODIFIERS["formula"]
    )
    sizes = {trigger["name"]: 0 for trigger in SPEC["triggers"]}
    assert counts.keys() <= sizes.keys()
    result = eval(python, {"__builtins__": {}}, sizes | counts)  # noqa: S307 - our own file
    return int(1000 * result) / 1000


def wanted(current: int, **counts: int) -> int:
    """KEDA between zero and one, the HPA that it makes beyond; without limits or windows."""
    total = value(**counts)
    if total <= float(MODIFIERS["activationTarget"]):
        least: int = SPEC["minReplicaCount"]
        return least
    if current == 0:
        return 1
    return max(1, by_average_value(total, float(MODIFIERS["target"]), current))


def read(client: redis.Redis) -> dict[str, int]:
    """What the triggers see that see anything."""
    sizes: dict[str, Any] = {}
    for trigger in SPEC["triggers"]:
        key = trigger["metadata"]["listName"]
        kind: Any = client.type(key)
        sizes[trigger["name"]] = client.execute_command(_SIZES[kind.decode()], key)
    return {name: size for name, size in sizes.items() if size}
