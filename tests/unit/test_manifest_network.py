"""The network policies: a way that is cut, and one that is open to others, is seen."""

from pathlib import Path

import pytest

from scripts import manifest_network, manifests
from tests.manifest_reading import broken

ROOT = Path(__file__).parents[2]
PEERS = "spec.ingress.0.from"
WAYS = [
    ("rerankq-redis", f"{PEERS}.1.namespaceSelector.matchLabels.x", "y", "keda cannot reach redis"),
    ("rerankq-redis", f"{PEERS}.0.podSelector.matchExpressions.0.values", ["api"], "worker cannot"),
    ("rerankq-redis", f"{PEERS}.2.namespaceSelector", {}, "redis is open by redis"),
    ("rerankq-api", f"{PEERS}.0.namespaceSelector.matchLabels.x", "y", "ingress-nginx cannot"),
    ("rerankq-worker", f"{PEERS}.0.namespaceSelector.matchLabels.x", "y", "monitoring cannot"),
    ("rerankq-worker", "spec.egress.0.ports.0.port", 80, "worker cannot reach 1.1.1.1 by 443"),
    ("to-redis", "spec.egress.0.to.0.podSelector.matchLabels.x", "y", "api cannot reach redis"),
    ("names", "spec.egress.0.to.0.namespaceSelector.matchLabels.x", "y", "look up names"),
    ("closed", "spec.podSelector.matchLabels", {"x": "y"}, "a pod beside ours: ingress is"),
]


@pytest.fixture(scope="module")
def gpu():
    return manifests.build(ROOT / "k8s" / "overlays" / "gpu")


@pytest.mark.parametrize(("name", "path", "value", "seen"), WAYS, ids=lambda v: str(v)[-40:])
def test_a_way_that_is_cut_or_open_is_seen(gpu, name, path, value, seen):
    assert list(manifest_network.errors(gpu)) == []
    changed, _ = broken(gpu, "NetworkPolicy", name, path, value)
    assert seen in "\n".join(manifest_network.errors(changed))
