"""A device that only takes time: so much a token. Neither a model nor torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

from rerankq.ledger.sharding import BYTES_PER_TOKEN, TEMPLATE_TOKENS
from worker.engine.interface import Launch, Layout, Pair, Profile
from worker.planner import cost


class SimulatedDevice:
    """An engine of the worker's interface.

    Tokenizing is slicing, so a worker's CPU is the queue's and the coalescer's own. A launch
    sleeps, as a thread does that waits for a GPU.

    Args:
        token_budget: of a batch.
        batch_s: what a batch of the whole budget takes.
    """

    def __init__(self, token_budget: int, batch_s: float) -> None:
        self._token_s = batch_s / token_budget
        self.profile = Profile(
            model="simulated",
            revision="none",
            template="none",
            score_space="none",
            instruction=True,
            max_length=8192,
            dtype="none",
            device="simulated",
            layout=Layout.PACKED,
            token_budget=token_budget,
            engine=f"sleeps {batch_s * 1000:g} ms for {token_budget} tokens",
        )

    def encode(
        self,
        query: str,
        instruction: str | None,
        documents: Sequence[str],
        document_tokens: int | None = None,
    ) -> list[Pair]:
        shared = _prefix(query, instruction)
        return [Pair(shared, _ids(document)) for document in documents]

    def prepare(self, pairs: Sequence[Pair]) -> Launch:
        seconds = self._token_s * cost(pairs, self.profile.layout)
        scores = [_score(pair.own) for pair in pairs]

        def wait() -> list[float]:
            time.sleep(seconds)
            return scores

        return Launch(lambda: wait)

    def memory(self) -> dict[str, int]:
        return {}


def expected(document: str) -> float:
    """The score of a document; float32 holds it exactly."""
    return _score(_ids(document))


@lru_cache(maxsize=4096)
def _prefix(query: str, instruction: str | None) -> tuple[int, ...]:
    return (0,) * TEMPLATE_TOKENS + _ids(query) + _ids(instruction or "")


def _ids(text: str) -> tuple[int, ...]:
    return tuple(text.encode()[::BYTES_PER_TOKEN])


def _score(own: tuple[int, ...]) -> float:
    return len(own) + own[0] / 256 if own else 0.0
