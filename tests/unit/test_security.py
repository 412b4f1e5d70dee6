"""checkov is really asked: what breaks its rules is seen. `make check` shows that nothing does."""

from __future__ import annotations

from scripts import images, manifests, security
from tests.manifest_reading import broken

CONTEXT = "spec.template.spec.containers.0.securityContext"


def test_a_broken_rule_is_seen_in_a_manifest_and_in_a_dockerfile() -> None:
    gpu = manifests.build(manifests.K8S / "overlays" / "gpu")
    path = f"{CONTEXT}.readOnlyRootFilesystem"
    changed, _ = broken(gpu, "Deployment", "rerankq-worker", path, False)
    dockerfile = (images.ROOT / "Dockerfile.api").read_text() + "USER root\n"
    found = security.findings([("overlays/gpu", changed)], {"Dockerfile.api": dockerfile})
    assert "CKV_K8S_22" in found
    assert "Deployment.rerankq.rerankq-worker" in found
    assert "CKV_DOCKER_8" in found
