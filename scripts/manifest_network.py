"""That the NetworkPolicies of one build leave open what is needed, and nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

Manifest = dict[str, Any]
Labels = dict[str, str]


@dataclass(frozen=True)
class Peer:
    """The other end: a pod of ours, all pods of a namespace, or an address."""

    title: str
    pod: Labels = field(default_factory=dict)
    namespace: Labels = field(default_factory=dict)
    address: str = ""


def _namespace(name: str) -> Peer:
    return Peer(f"namespace {name}", namespace={"kubernetes.io/metadata.name": name})


# As k8s/base/network.yaml and k8s/redis/network.yaml call them: changed there, changed here.
NAMES, KEDA, PROMETHEUS, INGRESS = map(
    _namespace, ("kube-system", "keda", "monitoring", "ingress-nginx")
)
PUBLIC, INSIDE = Peer("1.1.1.1", address="1.1.1.1"), "10.1.2.3"
STRANGERS = (_namespace("elsewhere"), Peer(INSIDE, address=INSIDE))


def errors(objects: list[Manifest]) -> Iterator[str]:
    """Every way that is cut or open against what these objects need: a line each."""
    policies = [obj for obj in objects if obj["kind"] == "NetworkPolicy"]
    if pods := _pods(objects):
        yield from _of_every_pod(policies, pods | {"a pod beside ours": {}})
    for component, port, peer in _callers(objects):
        if not _open(policies, "ingress", pods[component], peer, port):
            yield f"{peer.title} cannot reach {component} by {port}"
        if component != "api" and _open(policies, "ingress", pods[component], STRANGERS[0], port):
            yield f"{component} is open by {port} to {STRANGERS[0].title}"
    for component, to, peer in _called(objects):
        if not _open(policies, "egress", pods[component], peer, to):
            yield f"{component} cannot reach {peer.title} by {to}"


def _of_every_pod(policies: list[Manifest], pods: dict[str, Labels]) -> Iterator[str]:
    for component, labels in pods.items():
        if not _open(policies, "egress", labels, NAMES, 53):
            yield f"{component} cannot look up names"
        for stranger in STRANGERS:
            for direction in ("ingress", "egress"):
                if _open(policies, direction, labels, stranger, 5432):
                    yield f"{component}: {direction} is open to {stranger.title}"


def _pods(objects: list[Manifest]) -> dict[str, Labels]:
    """The labels of the pods, by component."""
    templates = [obj["spec"]["template"] for obj in objects if "template" in obj.get("spec", {})]
    labels = [template["metadata"]["labels"] for template in templates]
    return {each["app.kubernetes.io/component"]: each for each in labels}


def _callers(objects: list[Manifest]) -> Iterator[tuple[str, str, Peer]]:
    """Who comes to which pod, by which port."""
    kinds, pods = {obj["kind"] for obj in objects}, _pods(objects)
    if "redis" in pods:
        yield from (("redis", "redis", Peer(who, pod=pods[who])) for who in ("api", "worker"))
        if "TriggerAuthentication" in kinds:
            yield "redis", "redis", KEDA
    if "ServiceMonitor" in kinds:
        yield "api", "http", PROMETHEUS
    if "PodMonitor" in kinds:
        yield "worker", "metrics", PROMETHEUS
    if "Ingress" in kinds:
        yield "api", "http", INGRESS


def _called(objects: list[Manifest]) -> Iterator[tuple[str, str | int, Peer]]:
    """Whom our pods go to, by which port."""
    pods = _pods(objects)
    models = [obj.get("data", {}).get("RERANKQ_MODEL", "/") for obj in objects]
    if not all(model.startswith("/") for model in models):
        yield "worker", 443, PUBLIC  # the hub
    for component in pods.keys() & {"api", "worker"}:
        if "redis" in pods:
            yield component, "redis", Peer("redis", pod=pods["redis"])
        else:
            yield component, 6379, Peer("a Redis elsewhere", address=INSIDE)


def _open(
    policies: list[Manifest], direction: str, labels: Labels, peer: Peer, port: str | int
) -> bool:
    """Nothing is forbidden to a pod that no policy selects, else all that none allows."""
    chosen = [
        policy["spec"]
        for policy in policies
        if direction.title() in policy["spec"]["policyTypes"]
        and _selected(policy["spec"]["podSelector"], labels)
    ]
    ways = [way for spec in chosen for way in spec.get(direction, [])]
    other_end = "from" if direction == "ingress" else "to"
    return not chosen or any(
        port in [each["port"] for each in way["ports"]]
        and any(_is(peer, allowed) for allowed in way[other_end])
        for way in ways
    )


def _is(peer: Peer, allowed: Manifest) -> bool:
    if block := allowed.get("ipBlock"):
        inside = [ip_network(block["cidr"]), *map(ip_network, block.get("except", []))]
        found = [peer.address and ip_address(peer.address) in network for network in inside]
        return bool(found[0]) and not any(found[1:])
    if "namespaceSelector" in allowed:
        return bool(peer.namespace) and _selected(allowed["namespaceSelector"], peer.namespace)
    return bool(peer.pod) and _selected(allowed["podSelector"], peer.pod)


def _selected(selector: Manifest, labels: Labels) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )
