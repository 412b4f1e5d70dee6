"""checkov's security rules on what k8s/ builds, and on the Dockerfiles: part of `make check`.

    python -m scripts.security
    python -m scripts.security --install

It has an environment of its own, because it wants older packages than this project has.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from scripts import images, manifests

ENVIRONMENT = Path(sys.prefix) / "checkov"  # goes with the environment it is in
CHECKOV = ENVIRONMENT / "bin" / "checkov"
REQUIREMENTS = Path(__file__).parent / "requirements" / "checkov.txt"
SKIPPED = manifests.K8S / ".checkov.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description="checkov on the manifests and Dockerfiles")
    parser.add_argument("--install", action="store_true", help="only make its environment")
    if parser.parse_args().install:
        install()
        return 0
    dockerfiles = {name: (images.ROOT / name).read_text() for name in images.MODULES}
    found = findings(manifests.everything(), dockerfiles)
    print(found or "checkov finds nothing that k8s/.checkov.yaml gives no reason for")
    return 1 if found else 0


def findings(
    built: Iterable[tuple[str, list[manifests.Manifest]]], dockerfiles: Mapping[str, str]
) -> str:
    """What checkov says of these; nothing: an empty text.

    Args:
        built: objects by a name of whatever they were built from.
        dockerfiles: texts by names that begin with "Dockerfile".
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, objects in built:
            path = Path(folder) / f"{name.replace('/', '-')}.yaml"
            path.write_text(yaml.safe_dump_all(objects))
        for name, text in dockerfiles.items():
            (Path(folder) / name).write_text(text)
        command = [str(CHECKOV), "--config-file", str(SKIPPED), "--directory", folder]
        done = subprocess.run(command, capture_output=True, text=True)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()


def install() -> None:
    """Make its environment, with the versions of `REQUIREMENTS`."""
    print(f"installing checkov into {ENVIRONMENT} ...", flush=True)
    venv.create(ENVIRONMENT, with_pip=False)
    # This project's pip, which is a known one, in place of one more of its own.
    pip = [sys.executable, "-m", "pip", "--python", str(ENVIRONMENT / "bin" / "python")]
    quiet = ["--quiet", "--disable-pip-version-check"]
    requirements = ["--requirement", str(REQUIREMENTS)]
    subprocess.run([*pip, "install", *quiet, *requirements], check=True)


if __name__ == "__main__":
    sys.exit(main())
