"""The command line as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from tests.conftest import ROOT, clean_environment

MAIN = "import sys; from rerankq.cli import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


def begun(*args: object, stderr: Any = subprocess.PIPE, **variables: str) -> subprocess.Popen[str]:
    """Args: variables: RERANKQ_* of it, without the prefix, in lower case."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *map(str, args)],
        cwd=ROOT,
        env=clean_environment(**{f"RERANKQ_{k.upper()}": v for k, v in variables.items()}),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], seconds: float = 60) -> Said:
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return Said(process.returncode, out, err or "")


def run(*args: object, **variables: str) -> Said:
    return ended(begun(*args, **variables))


def read_all(terminal: int) -> str:
    """What was drawn on a terminal whose other end is closed."""
    drawn = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        drawn += data
    return drawn.decode()
