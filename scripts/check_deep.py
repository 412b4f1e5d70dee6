"""`make check-deep`: checkov's security rules on what k8s/ builds, and on the Dockerfiles.

Apart from `make check`, because checkov wants older versions of packages that this project has, and
so an environment of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import yaml

from scripts import images, manifests

PINNED = "checkov==3.3.30"
ENVIRONMENT = Path(sys.prefix) / "checkov"  # goes with the environment it is in
SKIPPED = manifests.K8S / ".checkov.yaml"


def main() -> int:
    checkov = ENVIRONMENT / "bin" / "checkov"
    if not checkov.exists():
        _install()
    with tempfile.TemporaryDirectory() as folder:
        for name, objects in manifests.everything():
            path = Path(folder) / f"{name.replace('/', '-')}.yaml"
            path.write_text(yaml.safe_dump_all(objects))
        for name in images.MODULES:
            shutil.copy(images.ROOT / name, folder)
        command = [str(checkov), "--config-file", str(SKIPPED), "--directory", folder]
        return subprocess.run(command).returncode


def _install() -> None:
    print(f"installing {PINNED} into {ENVIRONMENT} ...", flush=True)
    venv.create(ENVIRONMENT, with_pip=True)
    pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", PINNED], check=True)


if __name__ == "__main__":
    sys.exit(main())
