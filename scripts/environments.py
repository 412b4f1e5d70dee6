"""Virtual environments for programs that are not ours, each from a file of exact pins."""

from __future__ import annotations

import hashlib
import subprocess
import venv
from pathlib import Path


class InstallFailed(Exception):
    """pip did not install it; the message is pip's last line."""


def python_in(folder: Path, requirements: Path) -> Path:
    """The environment's interpreter, made and installed unless that is done for these very pins.

    Raises: InstallFailed.
    """
    digest = hashlib.blake2b(requirements.read_bytes(), digest_size=8).hexdigest()
    python, stamp = folder / "bin" / "python", folder / f".installed-{digest}"
    if stamp.exists():
        return python
    print(f"installing {folder.name} ...", flush=True)
    # No older one is built upon: what it left behind would not be pinned.
    venv.create(folder, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--requirement", str(requirements)], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise InstallFailed((done.stderr.strip().splitlines() or ["pip failed"])[-1])
    stamp.touch()
    return python
