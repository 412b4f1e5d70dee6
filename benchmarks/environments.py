"""A virtual environment for each peer, under .bench/, from its pinned requirements.

python -m benchmarks.environments
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / ".bench" / "environments"
NAMES = ("crossencoder", "infinity")


def python_of(name: str) -> Path | None:
    """The environment's interpreter, installed if need be; None, and a line said, if that fails."""
    requirements = HERE / "requirements" / f"{name}.txt"
    digest = hashlib.blake2b(requirements.read_bytes(), digest_size=8).hexdigest()
    folder = ENVIRONMENTS / name
    python, stamp = folder / "bin" / "python", folder / f".installed-{digest}"
    if stamp.exists():
        return python
    print(f"installing {name} ...", flush=True)
    # No older one is built upon: what it left behind would not be pinned.
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--requirement", str(requirements)], capture_output=True, text=True
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        print(f"{name} cannot be installed: {last}", flush=True)
        return None
    stamp.touch()
    return python


def main() -> int:
    pythons = [python_of(name) for name in NAMES]
    return 0 if all(pythons) else 1


if __name__ == "__main__":
    sys.exit(main())
