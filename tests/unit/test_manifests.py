"""The manifests: what is broken in them is seen, and what they say of the code is true of it."""

import re
import runpy
import sys
import types
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from kombu.transport.redis import Channel

import rerankq
from api.__main__ import LONGEST_LAST_REQUEST_S
from api.routes import service
from rerankq.ledger.keys import QUEUE_BULK, QUEUE_INTERACTIVE, Key, booked_of, name
from rerankq.settings import Settings, unknown_variables
from rerankq.status import CHUNKS, Lane
from scripts import generated_monitoring, manifest_rules, manifests, monitoring
from tests.manifest_reading import broken, container, environment, find, generated
from worker.probe import Probe

ROOT = Path(__file__).parents[2]
OVERLAYS = ROOT / "k8s" / "overlays"


@pytest.fixture(scope="module")
def gpu() -> list[dict[str, Any]]:
    return manifests.build(OVERLAYS / "gpu")


POD = "spec.template.spec"
WRONG = [
    ("Deployment", "rerankq-worker", f"{POD}.containers.0.livenessProbe.periodSeconds", "ten"),
    ("Deployment", "rerankq-api", f"{POD}.containers.0.readinesProbe", {}),
    ("Ingress", "rerankq-api", "spec.rules.0.http.paths.0.pathtype", "Prefix"),
    ("ScaledObject", "rerankq-worker", "spec.maxReplicas", 8),
    ("ScaledObject", "rerankq-worker", "spec.fallback.behavior", "sometimes"),
    ("ScaledObject", "rerankq-worker", "spec.advanced.scalingModifiers.formulae", "1"),
    ("TriggerAuthentication", "rerankq-redis", "spec.secretTargetRef.0.keys", "password"),
    ("ServiceMonitor", "rerankq-api", "spec.endpoints.0.interval", "often"),
    ("PodMonitor", "rerankq-worker", "spec.podMetricsEndpoints.0.targetport", 9090),
    ("PrometheusRule", "rerankq", "spec.groups", {}),
]
CONTRADICTING = [
    ("Deployment", "rerankq-worker", f"{POD}.containers.0.resources.limits.memory", "17Gi"),
    ("Deployment", "rerankq-worker", f"{POD}.initContainers.0.resources.limits.cpu", "2"),
    ("Deployment", "rerankq-worker", f"{POD}.containers.0.startupProbe.httpGet.port", "probe"),
    ("Deployment", "rerankq-worker", f"{POD}.volumes.0.persistentVolumeClaim.claimName", "x"),
    ("Deployment", "rerankq-worker", "spec.replicas", 3),
    ("Deployment", "rerankq-api", f"{POD}.containers.0.env.0.name", "SCHEME"),
    ("Deployment", "rerankq-api", f"{POD}.containers.0.env.5.valueFrom.secretKeyRef.key", "pass"),
    ("Deployment", "rerankq-api", f"{POD}.volumes.1.secret.secretName", "keys"),
    ("Deployment", "rerankq-api", f"{POD}.serviceAccountName", "default"),
    ("Service", "rerankq-api", "spec.ports.0.targetPort", "web"),
    ("NetworkPolicy", "rerankq-redis", "spec.podSelector.matchLabels.x", "y"),
    ("PodDisruptionBudget", "rerankq-api", "spec.selector.matchLabels.x", "y"),
    ("PodMonitor", "rerankq-worker", "spec.podMetricsEndpoints.0.port", "http"),
    ("ServiceMonitor", "rerankq-api", "spec.endpoints.0.port", "metrics"),
    ("ScaledObject", "rerankq-worker", "spec.scaleTargetRef.name", "rerankq-api"),
    ("ScaledObject", "rerankq-worker", "spec.advanced.scalingModifiers.target", "7.5"),
    ("ScaledObject", "rerankq-worker", "spec.triggers.0.name", "waiting"),
    ("ScaledObject", "rerankq-worker", "spec.triggers.0.authenticationRef.name", "redis"),
    ("ScaledObject", "rerankq-worker", "spec.triggers.0.metadata.databaseIndex", "1"),
    ("ScaledObject", "rerankq-api", "metadata.namespace", "elsewhere"),
    ("TriggerAuthentication", "rerankq-redis", "spec.configMapTargetRef.0.key", "host"),
    ("Service", "rerankq-redis", "metadata.namespace", "elsewhere"),
]


@pytest.mark.parametrize(("kind", "name", "path", "value"), WRONG, ids=lambda v: str(v)[-40:])
def test_a_broken_field_is_seen(gpu, kind, name, path, value):
    assert list(manifests.schema_errors(find(gpu, kind, name))) == []
    _, obj = broken(gpu, kind, name, path, value)
    assert list(manifests.schema_errors(obj)) != []


def test_a_kind_without_a_schema_is_an_error():
    unknown = {"apiVersion": "keda.sh/v1", "kind": "ScaledPod", "metadata": {"name": "x"}}
    assert "no schema" in next(manifests.schema_errors(unknown))


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"), CONTRADICTING, ids=lambda v: str(v)[-40:]
)
def test_a_contradiction_is_seen(gpu, kind, name, path, value):
    assert list(manifest_rules.errors(gpu)) == []
    changed, _ = broken(gpu, kind, name, path, value)
    assert list(manifest_rules.errors(changed)) != []


def test_two_alternatives_for_the_api_cannot_be_built_together():
    with pytest.raises(manifests.DoesNotBuild, match="already registered"):
        manifests.build_with("keda/api-latency", "keda/api-requests")


@pytest.mark.parametrize("said", [None, "Client Version: v1.20.2"])
def test_a_missing_or_old_kubectl_is_one_clear_line(tmp_path, monkeypatch, said):
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin" if said else str(tmp_path))
    if said:
        (tmp_path / "kubectl").write_text(f"#!/bin/sh\necho {said}\n")
        (tmp_path / "kubectl").chmod(0o755)
    with pytest.raises(manifests.NoKubectl, match=r"1\.27 or newer.*pip install") as caught:
        manifests.find_kubectl.__wrapped__()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("which", ["api", "worker"])
@pytest.mark.parametrize("overlay", ["gpu", "cpu-dev"])
def test_the_environment_is_one_that_the_processes_take(overlay, which):
    objects = manifests.build(OVERLAYS / overlay)
    env = environment(objects, container(objects, which))
    assert unknown_variables(env) == []
    settings = Settings.from_env(env)
    assert settings.redis_url == "redis://:secret@rerankq-redis.rerankq.svc:6379/0"
    assert settings.model == env["RERANKQ_MODEL"]


def test_the_api_is_asked_where_it_answers(gpu):
    api = container(gpu, "api")
    paths = {getattr(route, "path", None) for route in service.router.routes}
    monitor = find(gpu, "ServiceMonitor", "rerankq-api")["spec"]["endpoints"][0]
    asked = {api[p]["httpGet"]["path"] for p in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked | {monitor["path"]} <= paths
    assert str(api["ports"][0]["containerPort"]) == api["command"][-1]


def test_the_worker_is_asked_where_it_answers(gpu):
    worker = container(gpu, "worker")
    assert worker["ports"][0]["containerPort"] == Settings().metrics_port
    loaded = False
    probe = Probe(0, ready=lambda: loaded)
    probe.start()

    def status(which: str) -> int:
        connection = HTTPConnection("127.0.0.1", probe.port, timeout=5)
        connection.request("GET", worker[which]["httpGet"]["path"])
        return connection.getresponse().status

    # Alive while its model loads, started and ready only then.
    wanted = {"livenessProbe": 200, "startupProbe": 503, "readinessProbe": 503}
    assert {which: status(which) for which in wanted} == wanted
    loaded = True
    assert {status(which) for which in wanted} == {200}


def test_the_scaler_counts_what_the_ledger_and_celery_hold(gpu):
    scaler = find(gpu, "ScaledObject", "rerankq-worker")["spec"]
    counted = [trigger["metadata"]["listName"] for trigger in scaler["triggers"]]
    ledger = [name(Key.PENDING, lane) for lane in (*Lane, CHUNKS)]
    ledger += [name(Key.BUSY), name(Key.OUTBOX, "task")]
    celery = [
        f"{queue}{Channel.sep}{step}" if step else queue
        for queue in (QUEUE_INTERACTIVE, QUEUE_BULK)
        for step in Channel.priority_steps
    ]
    assert sorted(counted) == sorted([*ledger, *celery, booked_of()["unacked_index_key"]])


def test_limits_and_times_agree_with_the_code(gpu):
    config = generated(gpu, "rerankq-settings")
    body = find(gpu, "Ingress", "rerankq-api")["metadata"]["annotations"]
    megabytes = int(body["nginx.ingress.kubernetes.io/proxy-body-size"].removesuffix("m"))
    assert megabytes * 2**20 == int(config["data"]["RERANKQ_MAX_BODY_BYTES"])
    pod = find(gpu, "Deployment", "rerankq-api")["spec"]["template"]["spec"]
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep > Settings().sync_timeout
    assert pod["terminationGracePeriodSeconds"] > sleep + LONGEST_LAST_REQUEST_S
    spot = find(manifests.build(OVERLAYS / "spot"), "Deployment", "rerankq-worker")
    grace = spot["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= Settings().lease_seconds


def test_who_never_is_ready_is_told_of_before_it_is_started_anew(gpu):
    probe = container(gpu, "worker")["startupProbe"]
    (alert,) = [r for r in monitoring.rules() if r.get("alert") == "RerankqWorkerNotReady"]
    minutes = int(alert["for"].removesuffix("m"))
    assert minutes * 60 < probe["periodSeconds"] * probe["failureThreshold"]


def test_the_images_are_those_of_this_version(gpu):
    for which in ("api", "worker"):
        image = container(gpu, which)["image"]
        assert re.search(rf"/rerankq-{which}:{re.escape(rerankq.__version__)}(-gpu)?$", image)


def test_rules_and_dashboards_become_objects(tmp_path, monkeypatch):
    (tmp_path / "a.yml").write_text("groups: [{name: a, rules: [{alert: A, expr: up == 0}]}]")
    (tmp_path / "b.json").write_text('{"title": "queue"}')
    monkeypatch.setattr(generated_monitoring, "RULES", tmp_path)
    monkeypatch.setattr(generated_monitoring, "DASHBOARDS", tmp_path)
    monkeypatch.setattr(generated_monitoring, "GENERATED", tmp_path / "out.yaml")
    generated_monitoring.write()
    assert not generated_monitoring.is_stale()
    objects = list(manifests.yaml.safe_load_all((tmp_path / "out.yaml").read_text()))
    assert [e for o in objects for e in manifests.schema_errors(o)] == []
    assert objects[0]["spec"]["groups"][0]["name"] == "a"
    (tmp_path / "b.json").write_text('{"title": "other"}')
    assert generated_monitoring.is_stale()


@pytest.mark.parametrize("local", [True, False])
def test_the_model_is_fetched_unless_it_is_there(tmp_path, monkeypatch, local):
    asked: list[Any] = []
    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = lambda *args, **kwargs: asked.append((args, kwargs))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setenv("RERANKQ_MODEL", str(tmp_path) if local else "owner/model")
    monkeypatch.setenv("RERANKQ_REVISION", "")
    runpy.run_path(str(ROOT / "k8s" / "base" / "fetch_model.py"), run_name="__main__")
    if local:
        assert asked == []
    else:
        ((model,), options) = asked[0]
        assert (model, options["revision"]) == ("owner/model", None)


def test_every_file_that_is_named_is_on_the_volume_that_has_it(gpu):
    api, worker = container(gpu, "api"), container(gpu, "worker")
    pod = find(gpu, "Deployment", "rerankq-worker")["spec"]["template"]["spec"]
    (fetch,) = pod["initContainers"]

    def volume(of: dict[str, Any], folder: str) -> str | None:
        return {m["mountPath"]: m["name"] for m in of["volumeMounts"]}.get(folder)

    folder, _, file = environment(gpu, api)["RERANKQ_API_KEYS_FILE"].rpartition("/")
    assert volume(api, folder) == "keys"
    assert file in manifest_rules.secrets()["rerankq-api-keys"]
    folder, _, file = fetch["command"][1].rpartition("/")
    assert volume(fetch, folder) == "fetch"
    assert file in generated(gpu, "rerankq-fetch")["data"]
    filled = [volume(each, environment(gpu, each)["HF_HOME"]) for each in (fetch, worker)]
    assert filled == ["models", "models"]


def test_no_volume_hides_a_model_that_is_baked_as_the_document_shows(gpu):
    shown = (ROOT / "docs" / "images.md").read_text()
    (path,) = set(re.findall(r"RERANKQ_MODEL=(/[\w/]+)", shown))
    mounts = [mount["mountPath"] for mount in container(gpu, "worker")["volumeMounts"]]
    assert mounts
    assert not any(path.startswith(f"{mount}/") for mount in mounts)


def test_the_document_names_what_is_there():
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    named = set(re.findall(r"`(k8s/[^`*]+)`", text))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_the_targets_in_the_document_are_computed_as_it_says():
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\d+) \| ([\d.]+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for row in rows:
        rate, pairs, seconds, drain, target = map(float, row)
        assert seconds == min(1.0, pairs / rate)
        assert target == drain // seconds
