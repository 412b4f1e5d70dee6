"""The images and the compose files, checked without an engine: part of `make check`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs

from rerankq.errors import SettingsError
from rerankq.settings import PREFIX, Settings, unknown_variables
from scripts.compose import VARIABLE, filled_in, laid_over, load
from scripts.dockerfile import Dockerfile, parse

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "config" / "schemas" / "compose-spec.json"
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"
MODULES = {"Dockerfile.api": "api", "Dockerfile.worker": "worker"}
COMPOSE, OVERRIDES = "docker-compose.yml", ("docker-compose.gpu.yml",)
UID = "10001:10001"
ONLY_REQUIRED = {"REDIS_PASSWORD": "x"}
SECRET = re.compile(r"(PASSWORD|TOKEN|SECRET|KEYS|REDISCLI_AUTH)$")
INSTALL = re.compile(r"pip (?:--python \S+ )?install (.*?)(?:&&|$)")
DOCUMENTED = re.compile(r"^```dockerfile\n(.*?)^```", re.MULTILINE | re.DOTALL)


def main() -> int:
    problems = list(linted())
    images = {name: parse((ROOT / name).read_text()) for name in MODULES}
    ignored = (ROOT / ".dockerignore").read_text()
    for name, image in images.items():
        problems += [f"{name}: {problem}" for problem in of_image(image, MODULES[name], ignored)]
    compose = load(ROOT / COMPOSE)
    problems += [f"{COMPOSE}: {problem}" for problem in of_compose(compose, images)]
    for name in OVERRIDES:
        both = laid_over(compose, load(ROOT / name))
        problems += [f"{name}: {problem}" for problem in of_compose(both, images)]
    example = (ROOT / ".env.example").read_text()
    problems += [f".env.example: {problem}" for problem in of_example(example, compose)]
    print("\n".join(problems) or "images and compose files hold together")
    return 1 if problems else 0


def linted() -> Iterator[str]:
    """Hadolint's findings, in the files and in what the documents show."""
    shown = DOCUMENTED.findall((ROOT / "docs" / "images.md").read_text())
    for name, text in [
        *((name, (ROOT / name).read_text()) for name in MODULES),
        *(("docs/images.md", text) for text in shown),
    ]:
        if found := lint(text):
            yield f"{name}: {found}"


def lint(text: str) -> str:
    said = subprocess.run([HADOLINT, "-"], input=text, capture_output=True, text=True)
    return f"{said.stdout}{said.stderr}".strip()


def of_image(dockerfile: Dockerfile, module: str, ignored: str) -> Iterator[str]:
    image = dockerfile.last
    if image.user != UID:
        yield f"runs as {image.user}, not as {UID}"
    if image.entrypoint != ["python", "-m", module]:
        yield f"its entry point is not python -m {module} in exec form"
    if image.healthcheck is None:
        yield "has no health check in exec form"
    copied = {name for copy in image.copies for name in copy.sources}
    if missing := {"rerankq", module} - copied:
        yield f"copies no {', '.join(sorted(missing))}"
    for stage in dockerfile.stages.values():
        yield from _of_installs(stage.runs)
        for source in (source for copy in stage.copies for source in copy.sources):
            if not (ROOT / source).exists():
                yield f"copies {source}, which is not there"
            if f"!{source}" not in ignored.splitlines():
                yield f"copies {source}, which .dockerignore keeps out"


def _of_installs(runs: Iterable[str]) -> Iterator[str]:
    for run in runs:
        for install in INSTALL.findall(run):
            if "--constraint constraints.txt" not in install:
                yield f"installs without the constraints: {install.strip()}"


def of_compose(compose: Mapping[str, Any], images: Mapping[str, Dockerfile]) -> Iterator[str]:
    for error in jsonschema_rs.validator_for(json.loads(SCHEMA.read_text())).iter_errors(compose):
        yield f"{'.'.join(map(str, error.instance_path))}: {error.message}"
    services = compose["services"]
    for name, service in services.items():
        yield from (f"{name}: {problem}" for problem in _of_service(service, images))
        for other, how in service.get("depends_on", {}).items():
            if other not in services:
                yield f"{name}: depends on {other}, which is no service"
            elif how["condition"] == "service_healthy" and not _checked(services[other], images):
                yield f"{name}: waits for the health of {other}, which has no health check"
        if stray := set(service.get("networks", ())) - {"default", *compose["networks"]}:
            yield f"{name}: unknown network {stray}"
    if services["redis"].get("ports"):
        yield "redis: is published"


def _of_service(service: Mapping[str, Any], images: Mapping[str, Dockerfile]) -> Iterator[str]:
    tag = filled_in(service["image"], ONLY_REQUIRED).rpartition(":")[2]
    if "/" in tag or tag in (service["image"], "latest"):
        yield f"{service['image']} has no tag of its own"
    if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
        yield "its root can be written to, or it keeps capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield "may gain privileges"
    for mount in service.get("volumes", ()):
        source = mount.split(":")[0]
        if source.startswith(".") and not (ROOT / source).exists():
            yield f"mounts {source}, which is not there"
        if source.startswith(".") and not mount.endswith(":ro"):
            yield f"may write to {source}"
    for port in filled_in(service.get("ports", []), ONLY_REQUIRED):
        if not port.startswith("127.0.0.1:"):
            yield f"publishes {port} beyond this machine by default"
    yield from _of_environment(service.get("environment", {}))
    if "build" in service:
        yield from _of_build(service, images)


def _of_environment(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if SECRET.search(name) and not value.startswith("${"):
            yield f"{name} is written down"
        for variable in VARIABLE.finditer(value):
            if (
                SECRET.search(variable["name"] or "")
                and variable["rule"] == ":-"
                and variable["word"]
            ):
                yield f"{variable['name']} has a default"
    if unknown := unknown_variables(environment):
        yield f"unknown settings: {', '.join(unknown)}"
    try:
        Settings.from_env(filled_in(dict(environment), ONLY_REQUIRED))
    except SettingsError as error:
        yield str(error)


def _of_build(service: Mapping[str, Any], images: Mapping[str, Dockerfile]) -> Iterator[str]:
    build = service["build"]
    if build["dockerfile"] not in images:
        yield f"is built from {build['dockerfile']}, which is not there"
        return
    dockerfile = images[build["dockerfile"]]
    if unknown := set(build.get("args", ())) - set(dockerfile.arguments):
        yield f"gives the build unknown arguments: {', '.join(sorted(unknown))}"
    inner = {port.rpartition(":")[2] for port in service.get("ports", ())}
    if inner - set(dockerfile.last.ports):
        yield f"publishes {', '.join(inner)}, the image listens on {dockerfile.last.ports}"


def _checked(service: Mapping[str, Any], images: Mapping[str, Dockerfile]) -> bool:
    built = images.get(service.get("build", {}).get("dockerfile", ""))
    return "healthcheck" in service or bool(built and built.last.healthcheck)


def of_example(example: str, compose: Mapping[str, Any]) -> Iterator[str]:
    """It lists what the compose file asks for, and gives nothing a value."""
    listed = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    asked = {m["name"] for m in VARIABLE.finditer(json.dumps(compose)) if m["name"]}
    if stray := asked ^ set(listed):
        yield f"does not list the variables of {COMPOSE}: {', '.join(sorted(stray))}"
    for name, value in listed.items():
        if value:
            yield f"{name} has a value"
        if name.startswith(PREFIX) and unknown_variables({name: ""}):
            yield f"{name} is no setting"


if __name__ == "__main__":
    sys.exit(main())
