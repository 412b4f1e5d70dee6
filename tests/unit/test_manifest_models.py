"""Two models behind one API: whose workers, pods and keys are whose."""

from pathlib import Path

import pytest

from rerankq.ledger.keys import queue_of, root_of
from rerankq.settings import Settings
from rerankq.status import Lane
from scripts import manifest_models, manifest_rules, manifests
from tests.manifest_reading import broken, container, environment, find, generated

OVERLAY = Path(__file__).parents[2] / "k8s" / "overlays" / "multi-model"


def test_workers_of_two_models_that_select_each_other_s_pods_are_seen():
    objects = manifests.build(OVERLAY)
    worker = find(objects, "Deployment", "rerankq-worker")
    del worker["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"]
    assert list(manifest_rules.errors(objects)) == [
        "Deployment rerankq-worker: selects the pods of "
        "Deployment rerankq-worker, Deployment rerankq-worker-accurate"
    ]


def test_a_further_model_s_workers_and_scaler_are_of_that_model():
    objects = manifests.build(OVERLAY)
    settings = Settings.from_env(environment(objects, container(objects, "worker-accurate")))
    further = settings.further
    assert further is not None

    def counted(scaler: str) -> list[str]:
        triggers = find(objects, "ScaledObject", scaler)["spec"]["triggers"]
        return [trigger["metadata"]["listName"] for trigger in triggers]

    roots = {root_of(None): root_of(further), "rerankq.": f"rerankq.{further}."}
    assert queue_of(Lane.BULK, further).startswith(roots["rerankq."])
    assert counted("rerankq-worker-accurate") == [
        roots[listed[: len("rerankq:")]] + listed[len("rerankq:") :]
        for listed in counted("rerankq-worker")
    ]
    pod = find(objects, "Deployment", "rerankq-worker-accurate")["spec"]["template"]["spec"]
    fetched = environment(objects, pod["initContainers"][0])
    assert fetched["RERANKQ_MODEL"] == further


WORKER = "spec.template.spec"
WRONG = [
    ("Deployment", f"{WORKER}.containers.0.env.12.value", "a/b", "lists no a/b, which has workers"),
    ("Deployment", f"{WORKER}.initContainers.0.env.3.value", "v1", "another RERANKQ_REVISION"),
    ("ScaledObject", "spec.triggers.1.metadata.listName", "rerankq:pending:bulk", "is not of Qwen"),
    ("ScaledObject", "spec.triggers.3.metadata.listName", "rerankq.a/b.bulk", "is not of Qwen"),
]


@pytest.mark.parametrize(("kind", "path", "value", "seen"), WRONG)
def test_a_name_that_was_forgotten_in_a_copy_is_seen(kind, path, value, seen):
    objects = manifests.build(OVERLAY)
    assert list(manifest_models.errors(objects)) == []
    changed, _ = broken(objects, kind, "rerankq-worker-accurate", path, value)
    assert seen in "\n".join(manifest_models.errors(changed))


def test_with_tls_all_who_speak_to_redis_check_its_certificate():
    objects = manifests.build_with("redis-tls", on="overlays/multi-model")
    for which in ("api", "worker", "worker-accurate"):
        there = container(objects, which)
        url = environment(objects, there)["RERANKQ_REDIS_URL"]
        path = url.partition("?ssl_ca_certs=")[2]
        assert url.startswith("rediss://")
        assert path.startswith(there["volumeMounts"][-1]["mountPath"])
    for suffix in ("", "-accurate"):
        login = find(objects, "TriggerAuthentication", f"rerankq-redis{suffix}")["spec"]
        assert "ca" in [ref["parameter"] for ref in login["secretTargetRef"]]
    assert generated(objects, "rerankq-redis")["data"]["tls"] == "enable"
    arguments = container(objects, "redis")["args"]
    assert arguments[arguments.index("--port") + 1] == "0"
