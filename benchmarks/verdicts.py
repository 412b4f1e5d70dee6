"""Bounds that a benchmark holds, each printed when it is judged."""

from __future__ import annotations


class Verdicts:
    """Collects what held and what did not; `code` is the process's exit status."""

    def __init__(self) -> None:
        self.code = 0

    def judge(self, held: bool, what: str) -> None:
        print(f"{'held  ' if held else 'BROKEN'}  {what}", flush=True)
        if not held:
            self.code = 1
