"""A virtual environment for each peer, under .bench/, from its pinned requirements.

python -m benchmarks.environments
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.environments import InstallFailed, python_in

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / ".bench" / "environments"
NAMES = ("crossencoder", "infinity")


def python_of(name: str) -> Path | None:
    """The environment's interpreter, installed if need be; None, and a line said, if that fails."""
    try:
        return python_in(ENVIRONMENTS / name, HERE / "requirements" / f"{name}.txt")
    except InstallFailed as error:
        print(f"{name} cannot be installed: {error}", flush=True)
        return None


def main() -> int:
    pythons = [python_of(name) for name in NAMES]
    return 0 if all(pythons) else 1


if __name__ == "__main__":
    sys.exit(main())
