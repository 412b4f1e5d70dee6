"""That each model of one build has workers and a scaler of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rerankq.ledger.keys import queue_of, root_of
from rerankq.status import Lane

Manifest = dict[str, Any]


def errors(objects: list[Manifest]) -> Iterator[str]:
    """Every worker that serves, or is scaled by, another model than it should: a line each."""
    configs = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
    known, served = set[str](), set[str]()
    for worker in _workers(objects):
        name, pod = worker["metadata"]["name"], worker["spec"]["template"]["spec"]
        loading = pod["containers"][0]
        model = _setting(loading, configs, "MODEL")
        default = configs[loading["envFrom"][0]["configMapRef"]["name"]]["RERANKQ_MODEL"]
        listed = _setting(loading, configs, "MODELS").split(",")
        further = {each.strip() for each in listed} - {""}
        for fetching in pod.get("initContainers", []):
            for each in ("MODEL", "REVISION"):
                if _setting(fetching, configs, each) != _setting(loading, configs, each):
                    yield f"Deployment {name}: fetches another RERANKQ_{each} than it loads"
        for scaler in _scalers(objects, name):
            yield from _counts(scaler, model if model in further else None, further)
        known |= further | {default}
        served.add(model)
    yield from (f"RERANKQ_MODELS lists no {model}, which has workers" for model in served - known)
    yield from (f"RERANKQ_MODELS lists {model}, which has no workers" for model in known - served)


def _workers(objects: list[Manifest]) -> Iterator[Manifest]:
    for obj in objects:
        labels = obj["metadata"].get("labels", {})
        if obj["kind"] == "Deployment" and labels["app.kubernetes.io/component"] == "worker":
            yield obj


def _setting(container: Manifest, configs: dict[str, dict[str, str]], name: str) -> str:
    """Of the container's own variables, else of its ConfigMap."""
    own = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    shared = configs[container["envFrom"][0]["configMapRef"]["name"]]
    value: str = own.get(f"RERANKQ_{name}", shared.get(f"RERANKQ_{name}", ""))
    return value


def _scalers(objects: list[Manifest], target: str) -> Iterator[Manifest]:
    for obj in objects:
        if obj["kind"] == "ScaledObject" and obj["spec"]["scaleTargetRef"]["name"] == target:
            yield obj


def _counts(scaler: Manifest, model: str | None, further: set[str]) -> Iterator[str]:
    """Its triggers look at the sets and lists of this model; None: of the default one."""
    for trigger in scaler["spec"]["triggers"]:
        if trigger["type"] != "redis":
            continue
        listed = trigger["metadata"]["listName"]
        whose = [each for each in further if listed.startswith(_begins(each))]
        if whose != ([] if model is None else [model]):
            yield (
                f"ScaledObject {scaler['metadata']['name']}: {trigger['name']} is not of "
                f"{model or 'the default model'}: {listed}"
            )


def _begins(model: str) -> tuple[str, str]:
    return root_of(model), queue_of(Lane.BULK, model).removesuffix(Lane.BULK)
