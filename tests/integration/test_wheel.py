"""The wheel, alone in a clean environment: it imports, and passes the client's tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.conftest import ROOT, clean_environment

ABSENT = ("torch", "transformers", "fastapi", "numpy", "api", "worker")


@pytest.mark.timeout(300)
def test_the_wheel_is_the_light_client(tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), cwd=ROOT)
    (wheel,) = tmp_path.glob("rerankq-*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    pinned = ("--constraint", str(ROOT / "constraints.txt"))
    run(*pip, *pinned, str(wheel))
    code = (
        "import importlib.util, rerankq, rerankq.tasks, rerankq.ledger.store;"
        f"print([m for m in {ABSENT!r} if importlib.util.find_spec(m)], rerankq.__file__)"
    )
    said = run(python, "-c", code, cwd=tmp_path)
    assert said.startswith("[] ")
    assert str(tmp_path) in said
    run(*pip, *pinned, "pytest", "pytest-timeout")
    shutil.copytree(ROOT / "tests" / "client", tmp_path / "client")
    said = run(python, "-m", "pytest", "client", "-q", "--timeout=60", cwd=tmp_path)
    assert " passed" in said
    assert "skipped" not in said


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
