"""Make the virtual environment and install everything into it, from the project's own files.

    python3 scripts/install.py .venv

Standard library only. The versions are those of constraints.txt. torch is named with its exact
version because that is how a CPU build found by pip (`PIP_FIND_LINKS`, `PIP_EXTRA_INDEX_URL`)
is preferred over the default CUDA one of several gigabytes.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
LEAST = (3, 11)


def main() -> int:
    if sys.version_info < LEAST:
        print(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}. Set PYTHON=")
        return 2
    target = Path(sys.argv[1] if len(sys.argv) > 1 else ".venv")
    venv.create(target, with_pip=True, clear=False)
    python = target / "bin" / "python"
    # Dependency groups need pip 25.1.
    _pip(python, "pip", _pinned("pip"))
    groups = [word for group in ("api", "worker", "dev") for word in ("--group", group)]
    _pip(python, "rerankq and its groups", _pinned("torch"), "--editable", str(ROOT), *groups)
    _compile(python, target / "lib")
    (target / ".installed").touch()
    return 0


def _pinned(name: str) -> str:
    """`name==version` as the constraints have it."""
    for line in CONSTRAINTS.read_text().splitlines():
        if line.startswith(f"{name}=="):
            return line.split(";")[0].strip()
    raise SystemExit(f"constraints.txt does not pin {name}")


def _pip(python: Path, what: str, *args: str) -> None:
    print(f"installing {what} ...", flush=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-compile", "--constraint", str(CONSTRAINTS)]
    subprocess.run([*command, *args], check=True, cwd=ROOT)


def _compile(python: Path, folder: Path) -> None:
    """On all cores; pip would take one for two minutes."""
    command = [str(python), "-m", "compileall", "-qq", "--workers", "0", str(folder)]
    subprocess.run(command)  # what does not compile is never imported, templates for instance


if __name__ == "__main__":
    sys.exit(main())
