"""The images and compose files, without an engine: what they hold, and that the checks can fail."""

from __future__ import annotations

import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import images
from scripts.compose import Unset, filled_in, laid_over, load
from scripts.dockerfile import Dockerfile, parse

ROOT = Path(__file__).parents[2]
MODEL_STACK = {"torch", "transformers", "pyarrow", "numpy", "accelerate", "tokenizers"}
MIB = 1024 * 1024
# The base is 125 MB, the whole is to stay below 250.
MOST_FOR_THE_FRONT = 100 * MIB


def installed_with(group: str) -> set[str]:
    """The names of all that the project and a group of it need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"][group]]
    found: set[str] = set()
    asked: set[tuple[str, str]] = set()
    while wanted:
        need = Requirement(wanted.pop())
        for extra in ("", *need.extras):
            if (need.name, extra) in asked or not holds(need, ""):
                continue
            asked.add((need.name, extra))
            found.add(canonicalize_name(need.name))
            for text in distribution(need.name).requires or ():
                if holds(Requirement(text), extra):
                    further = Requirement(text)
                    further.marker = None
                    wanted.append(str(further))
    return found


def holds(need: Requirement, extra: str) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def test_the_front_needs_no_model_stack_and_stays_small() -> None:
    names = installed_with("api")
    assert "uvicorn" in names
    assert "kombu" in names, "a need of a need"
    assert not MODEL_STACK & names
    files = [file for name in names for file in distribution(name).files or ()]
    size = sum(path.stat().st_size for file in files if (path := Path(file.locate())).exists())
    assert 20 * MIB < size < MOST_FOR_THE_FRONT


@pytest.mark.parametrize("group", ["api", "worker"])
def test_the_constraints_pin_all_that_an_image_holds(group: str) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    # torch names its CUDA packages by exact version itself; a CPU build has none.
    nvidia = ("nvidia-", "cuda-", "triton")
    ours = {name for name in installed_with(group) if not name.startswith(nvidia)}
    assert not ours - pinned


def changed(name: str, old: str, new: str) -> str:
    text = (ROOT / name).read_text()
    assert old in text
    return text.replace(old, new)


IGNORED = (ROOT / ".dockerignore").read_text()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("USER 10001:10001", "USER root", "runs as root"),
        ('ENTRYPOINT ["python", "-m", "api"]', "ENTRYPOINT python -m api", "entry point"),
        ("--constraint constraints.txt pip", "pip", "without the constraints: pip"),
        ("COPY --chmod=755 api api", "COPY docs docs", "copies docs, which .dockerignore"),
        ("COPY --chmod=755 rerankq rerankq", "", "copies no rerankq"),
        ('CMD ["python", "-c"', 'CMD curl -f localhost ["', "health check"),
    ],
)
def test_a_broken_image_is_seen(old: str, new: str, problem: str) -> None:
    said = images.of_image(parse(changed("Dockerfile.api", old, new)), "api", IGNORED)
    assert any(problem in line for line in said)


def test_hadolint_is_asked() -> None:
    assert "DL3006" in images.lint(changed("Dockerfile.api", "${BASE} AS api", "python AS api"))


@pytest.fixture(scope="module")
def parsed() -> dict[str, Dockerfile]:
    return {name: parse((ROOT / name).read_text()) for name in images.MODULES}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("healthcheck:", "health_check:", "Additional properties"),
        ("RERANKQ_OPERATORS:", "RERANKQ_OPERATOR:", "unknown settings: RERANKQ_OPERATOR"),
        ("redis://:", "http://:", "RERANKQ_REDIS_URL=(hidden)"),
        ("redis:8.2.1-alpine", "redis:latest", "no tag of its own"),
        ("prom/prometheus:v3.5.0", "prom/prometheus", "no tag of its own"),
        ("      redis: {condition", "      radis: {condition", "radis, which is no service"),
        ("127.0.0.1:3000:3000", "3000:3000", "beyond this machine"),
        ('8000}:8000"]', '8000}:80"]', "publishes 80, the image listens on"),
        ("${HF_TOKEN:-}", "hf_abc", "HF_TOKEN is written down"),
        ("${HF_TOKEN:-}", "${HF_TOKEN:-hf_abc}", "HF_TOKEN has a default"),
        ("read_only: true", "read_only: false", "can be written to"),
        ("./models/demo:", "./models/other:", "mounts ./models/other"),
        (":/app/models/demo:ro", ":/app/models/demo", "may write to ./models/demo"),
        ("networks: [queue]", "networks: [queues]", "unknown network"),
        ("dockerfile: Dockerfile.api", "dockerfile: Dockerfile", "which is not there"),
    ],
)
def test_a_broken_compose_file_is_seen(
    old: str, new: str, problem: str, parsed: dict[str, Dockerfile], tmp_path: Path
) -> None:
    file = tmp_path / "compose.yml"
    file.write_text(changed("docker-compose.yml", old, new))
    assert any(problem in line for line in images.of_compose(load(file), parsed))


def test_the_gpu_file_names_arguments_that_the_image_has(parsed: dict[str, Dockerfile]) -> None:
    compose = load(ROOT / "docker-compose.yml")
    both = laid_over(compose, load(ROOT / "docker-compose.gpu.yml"))
    assert both["services"]["worker"]["build"]["dockerfile"] == "Dockerfile.worker"
    both["services"]["worker"]["build"]["args"]["BASIS"] = "x"
    said = list(images.of_compose(both, parsed))
    assert "worker: gives the build unknown arguments: BASIS" in said


def test_nothing_starts_without_a_password() -> None:
    compose = load(ROOT / "docker-compose.yml")
    with pytest.raises(Unset, match="REDIS_PASSWORD"):
        filled_in(compose, {})
    with pytest.raises(Unset, match="REDIS_PASSWORD"):
        filled_in(compose, {"REDIS_PASSWORD": ""})
    assert filled_in("$$a ${B:-c} $D", {"D": "e"}) == "$a c e"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("HF_TOKEN=", "HF_TOKEN=hf_abc", "HF_TOKEN has a value"),
        ("RERANKQ_REVISION=\n", "", "RERANKQ_REVISION"),
    ],
)
def test_the_example_lists_every_variable_and_no_value(old: str, new: str, problem: str) -> None:
    compose = load(ROOT / "docker-compose.yml")
    said = images.of_example(changed(".env.example", old, new), compose)
    assert any(problem in line for line in said)
