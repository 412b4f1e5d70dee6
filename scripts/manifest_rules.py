"""What no schema knows: that the objects of one build fit each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

EXAMPLES = Path(__file__).resolve().parent.parent / "k8s" / "base" / "secrets.example.yaml"
# As cert-manager makes it; by the name the components redis-ca and redis-tls say.
SECRETS_BY_OTHERS = {"rerankq-redis-tls": {"ca.crt", "tls.crt", "tls.key"}}

Manifest = dict[str, Any]


def errors(objects: list[Manifest]) -> Iterator[str]:
    """Every contradiction between these objects: a line each."""
    for rule in (_names, _selectors, _guaranteed, _scalers, _address):
        yield from rule(objects)


def of_kind(objects: list[Manifest], *kinds: str) -> Iterator[Manifest]:
    return (obj for obj in objects if obj["kind"] in kinds)


def pods(objects: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The pod templates, by `Kind name`."""
    for obj in of_kind(objects, "Deployment", "StatefulSet", "Job"):
        yield _title(obj), obj["spec"]["template"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def _title(obj: Manifest) -> str:
    return f"{obj['kind']} {obj['metadata']['name']}"


@cache
def secrets() -> dict[str, set[str]]:
    """The keys of each Secret that a cluster is told to make."""
    examples = yaml.safe_load_all(EXAMPLES.read_text())
    return {e["metadata"]["name"]: set(e["stringData"]) for e in examples} | SECRETS_BY_OTHERS


def _names(objects: list[Manifest]) -> Iterator[str]:
    """What a pod or a scaler names is there, and has the key."""
    configs = {c["metadata"]["name"]: set(c["data"]) for c in of_kind(objects, "ConfigMap")}
    others = {(obj["kind"], obj["metadata"]["name"]) for obj in objects}
    for title, pod in pods(objects):
        for kind, name in _named(pod["spec"]):
            if (kind, name) not in others:
                yield f"{title}: no {kind} {name}"
        yield from _volumes(title, pod["spec"], configs)
        for container in containers(pod):
            yield from _environment(title, container, configs)
            yield from _mounts(title, container, pod["spec"])
            yield from _ports(title, container)
    for obj in of_kind(objects, "TriggerAuthentication"):
        for field, known in (("configMapTargetRef", configs), ("secretTargetRef", secrets())):
            for ref in obj["spec"].get(field, []):
                yield from _has(_title(obj), known, ref["name"], ref["key"])


def _named(spec: Manifest) -> Iterator[tuple[str, str]]:
    yield "ServiceAccount", spec["serviceAccountName"]
    yield "PriorityClass", spec["priorityClassName"]
    for volume in spec.get("volumes", []):
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def _volumes(title: str, spec: Manifest, configs: dict[str, set[str]]) -> Iterator[str]:
    for volume in spec.get("volumes", []):
        if "configMap" in volume:
            yield from _has(title, configs, volume["configMap"]["name"])
        if "secret" in volume:
            yield from _has(title, secrets(), volume["secret"]["secretName"])


def _has(
    title: str, known: dict[str, set[str]], name: str, key: str | None = None
) -> Iterator[str]:
    if name not in known:
        yield f"{title}: nothing is called {name}"
    elif key is not None and key not in known[name]:
        yield f"{title}: {name} has no key {key}"


def _environment(title: str, container: Manifest, configs: dict[str, set[str]]) -> Iterator[str]:
    defined: set[str] = set()
    for source in container.get("envFrom", []):
        yield from _has(title, configs, source["configMapRef"]["name"])
    for variable in container.get("env", []):
        origin = variable.get("valueFrom", {})
        if ref := origin.get("configMapKeyRef"):
            yield from _has(title, configs, ref["name"], ref["key"])
        if ref := origin.get("secretKeyRef"):
            yield from _has(title, secrets(), ref["name"], ref["key"])
        for used in re.findall(r"\$\((\w+)\)", variable.get("value", "")):
            if used not in defined:
                yield f"{title}: {variable['name']} uses {used}, which does not come before it"
        defined.add(variable["name"])


def _mounts(title: str, container: Manifest, spec: Manifest) -> Iterator[str]:
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    claims = {"data"} if container["name"] == "redis" else set()  # of its volumeClaimTemplates
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes | claims:
            yield f"{title}: no volume {mount['name']}"


def _ports(title: str, container: Manifest) -> Iterator[str]:
    ports = {port["name"] for port in container.get("ports", [])}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        port = container.get(probe, {}).get("httpGet", {}).get("port")
        if port is not None and port not in ports:
            yield f"{title}: {probe} asks port {port}, which the container does not name"


def _selectors(objects: list[Manifest]) -> Iterator[str]:
    """What selects pods or a Service selects one, and by a port that it has."""
    templates = [pod for _, pod in pods(objects)]
    for obj in of_kind(objects, "Service"):
        ports = [port["targetPort"] for port in obj["spec"]["ports"]]
        yield from _selects(obj, obj["spec"]["selector"], templates, ports)
    for obj in of_kind(objects, "PodMonitor"):
        ports = [endpoint["port"] for endpoint in obj["spec"]["podMetricsEndpoints"]]
        yield from _selects(obj, obj["spec"]["selector"]["matchLabels"], templates, ports)
    for obj in of_kind(objects, "PodDisruptionBudget"):
        yield from _selects(obj, obj["spec"]["selector"]["matchLabels"], templates, [])
    for obj in of_kind(objects, "Deployment", "StatefulSet"):
        wanted = obj["spec"]["selector"]["matchLabels"]
        of = [t for t, pod in pods(objects) if _matches(wanted, pod["metadata"]["labels"])]
        if of != [_title(obj)]:  # an HPA refuses pods that two of them select
            yield f"{_title(obj)}: selects the pods of {', '.join(of) or 'nobody'}"
    for obj in of_kind(objects, "NetworkPolicy"):
        wanted = obj["spec"]["podSelector"].get("matchLabels", {})
        ports = [p["port"] for way in obj["spec"].get("ingress", []) for p in way["ports"]]
        yield from _selects(obj, wanted, templates, ports)
    services = list(of_kind(objects, "Service"))
    for obj in of_kind(objects, "ServiceMonitor"):
        wanted = obj["spec"]["selector"]["matchLabels"]
        chosen = [s for s in services if _matches(wanted, s["metadata"].get("labels", {}))]
        names = {port["name"] for service in chosen for port in service["spec"]["ports"]}
        for endpoint in obj["spec"]["endpoints"]:
            if endpoint["port"] not in names:
                yield f"{_title(obj)}: no Service it selects has a port {endpoint['port']}"


def _matches(wanted: dict[str, str], labels: dict[str, str]) -> bool:
    return wanted.items() <= labels.items()


def _selects(
    obj: Manifest, wanted: dict[str, str], templates: list[Manifest], ports: list[str | int]
) -> Iterator[str]:
    chosen = [pod for pod in templates if _matches(wanted, pod["metadata"]["labels"])]
    if not chosen:
        yield f"{_title(obj)}: selects no pod"
        return
    named = {p["name"] for pod in chosen for c in containers(pod) for p in c.get("ports", [])}
    for port in ports:
        if isinstance(port, str) and port not in named:
            yield f"{_title(obj)}: no pod it selects has a port {port}"


def _guaranteed(objects: list[Manifest]) -> Iterator[str]:
    """Requests equal limits in every container of a worker; else it is the first to be evicted."""
    for title, pod in pods(objects):
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] != "worker":
            continue
        for container in containers(pod):
            resources = container["resources"]
            equal = resources.get("requests") == resources.get("limits")
            if not equal or not {"cpu", "memory"} <= resources["limits"].keys():
                yield f"{title}: {container['name']} keeps the pod from being Guaranteed"


def _scalers(objects: list[Manifest]) -> Iterator[str]:
    """Each has a target of its own, which leaves the count to it, and KEDA will take its word."""
    scalers = list(of_kind(objects, "ScaledObject"))
    deployments = {d["metadata"]["name"]: d for d in of_kind(objects, "Deployment")}
    count = Counter(scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers)
    for scaler in scalers:
        title, spec = _title(scaler), scaler["spec"]
        target = spec["scaleTargetRef"]["name"]
        if count[target] > 1:
            yield f"{title}: Deployment {target} has more than one ScaledObject"
        if target not in deployments:
            yield f"{title}: no Deployment {target}"
        elif "replicas" in deployments[target]["spec"]:
            yield f"{title}: Deployment {target} sets replicas, which every apply would reset"
        yield from _formula(title, spec)
        yield from _triggers(title, scaler, objects)


def _formula(title: str, spec: Manifest) -> Iterator[str]:
    modifiers = spec.get("advanced", {}).get("scalingModifiers")
    if modifiers is None:
        return
    used = set(re.findall(r"[a-z]\w*", modifiers["formula"]))
    named = {trigger["name"] for trigger in spec["triggers"]}
    if used != named:
        yield f"{title}: formula and triggers differ in {', '.join(sorted(used ^ named))}"
    if not re.fullmatch(r"[1-9]\d*", modifiers["target"]):
        yield f"{title}: with a target that is no whole number KEDA ignores the fallback"


def _triggers(title: str, scaler: Manifest, objects: list[Manifest]) -> Iterator[str]:
    logins = {auth["metadata"]["name"] for auth in of_kind(objects, "TriggerAuthentication")}
    databases = {
        config["data"]["database"]
        for config in of_kind(objects, "ConfigMap")
        if "database" in config["data"]
    }
    for trigger in scaler["spec"]["triggers"]:
        login = trigger.get("authenticationRef", {}).get("name")
        if login is not None and login not in logins:
            yield f"{title}: no TriggerAuthentication {login}"
        told = trigger["metadata"]
        if trigger["type"] == "redis" and {told["databaseIndex"]} != databases:
            yield f"{title}: {trigger['name']} reads another database than the workers"
        for namespace in re.findall(r'namespace="([^"]*)"', told.get("query", "")):
            if namespace != scaler["metadata"].get("namespace"):
                yield f"{title}: {trigger['name']} asks for namespace {namespace}"


def _address(objects: list[Manifest]) -> Iterator[str]:
    """KEDA finds Redis from its own namespace, where the bare name of a Service is unknown."""
    services = {
        f"{obj['metadata']['name']}.{obj['metadata'].get('namespace')}.svc"
        for obj in of_kind(objects, "Service")
    }
    for config in of_kind(objects, "ConfigMap"):
        if "address" not in config["data"]:
            continue
        host = config["data"]["address"].partition(":")[0]
        if "." not in host or (host.endswith(".svc") and host not in services):
            yield f"{_title(config)}: no Service is called {host} in every namespace"
