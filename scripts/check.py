"""`make check`: every static check, all of them even if one fails."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

BIN = Path(sysconfig.get_path("scripts"))
CHECKS = {
    "lint": [str(BIN / "ruff"), "check", "."],
    "format": [str(BIN / "ruff"), "format", "--check", "."],
    "types": [str(BIN / "mypy")],
    "imports": [str(BIN / "lint-imports")],
    "yaml": [str(BIN / "yamllint"), "--strict", "--config-file", "k8s/.yamllint", "k8s"],
    "manifests": [sys.executable, "-m", "scripts.manifests"],
    "monitoring": [sys.executable, "-m", "scripts.monitoring"],
    "images": [sys.executable, "-m", "scripts.images"],
    "security": [sys.executable, "-m", "scripts.security"],
}


def main() -> int:
    failed = []
    for name, command in CHECKS.items():
        print(f"== {name}", flush=True)
        if subprocess.run(command).returncode != 0:
            failed.append(name)
    print("failed: " + ", ".join(failed) if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
