"""A process that answers lines of JSON (`benchmarks.peers.lines`)."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import machine

ROOT = Path(__file__).resolve().parent.parent.parent


class PeerFailed(Exception):
    """A contender's process ended, or refused; the message has its last words."""


class Process:
    """One long-lived contender, so that it can alternate with others.

    Raises: PeerFailed, from every method.
    """

    def __init__(self, python: str, module: str, *args: str) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._module = module
        self._process = subprocess.Popen(
            [python, "-m", module, *args],
            cwd=ROOT,
            env=machine.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        self._read()

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failed() from None
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failed()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _failed(self) -> PeerFailed:
        self._process.wait()
        self._log.seek(0)
        words = self._log.read().strip().splitlines()[-1:]
        return PeerFailed(f"{self._module} ended: {''.join(words)}")
