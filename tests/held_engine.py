"""An engine that waits for the test, and whose scores say which pair they are of."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import SimpleQueue

from worker.engine.interface import Launch, Layout, Pair, Profile

POISON, NAN = 666, 667


class HeldEngine:
    """Scores a pair by its own first token; each batch waits until the test lets it go."""

    def __init__(self) -> None:
        self.profile = Profile(
            "m", "r", "t", "s", False, 512, "float32", "cpu", Layout.PADDED, 100, ""
        )
        self.batches: list[list[int]] = []
        self.entered: SimpleQueue[int] = SimpleQueue()
        self.go = threading.Semaphore(0)

    def encode(
        self,
        query: str,
        instruction: str | None,
        documents: Sequence[str],
        document_tokens: int | None = None,
    ) -> list[Pair]:
        return [pair(int(document)) for document in documents]

    def prepare(self, pairs: Sequence[Pair]) -> Launch:
        tokens = [pair.own[0] for pair in pairs]
        return Launch(lambda: lambda: self._score(tokens))

    def _score(self, tokens: list[int]) -> list[float]:
        self.batches.append(tokens)
        self.entered.put(len(tokens))
        self.go.acquire()
        if POISON in tokens:
            raise RuntimeError("poison")
        return [float("nan") if token == NAN else float(token) for token in tokens]

    def memory(self) -> dict[str, int]:
        return {}


def pair(token: int) -> Pair:
    return Pair((), (token,) * 10)
