"""From texts to pairs, past those whose scores are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.engine.interface import Engine, Pair
from worker.score_cache import ScoreCache
from worker.work import Answer, Work


@dataclass(frozen=True, slots=True)
class Encoded:
    """Some documents of one query, as `Work` takes them.

    Attributes:
        pairs: to be scored, in document order.
        known: the answers to the other documents, by place.
        keys: of the pairs in the score cache; empty without one.
    """

    pairs: Sequence[Pair]
    known: Mapping[int, Answer]
    keys: Sequence[bytes]


class Encoder:
    """The engine's tokenizer with the score cache before it, if there is one."""

    def __init__(self, engine: Engine, cache: ScoreCache | None) -> None:
        self._engine = engine
        self._cache = cache

    def encode(
        self,
        query: str,
        instruction: str | None,
        documents: Sequence[str],
        document_tokens: int | None = None,
    ) -> Encoded:
        """See `Engine.encode`."""
        if self._cache is None:
            pairs = self._engine.encode(query, instruction, documents, document_tokens)
            return Encoded(pairs, {}, ())
        keys = self._cache.keys(query, instruction, documents, document_tokens)
        answers = enumerate(self._cache.look_up(keys))
        known = {place: answer for place, answer in answers if answer is not None}
        missing = [place for place in range(len(documents)) if place not in known]
        texts = [documents[place] for place in missing]
        pairs = self._engine.encode(query, instruction, texts, document_tokens) if texts else []
        return Encoded(pairs, known, [keys[place] for place in missing])

    def keep(self, work: Work) -> None:
        """Have a work's scores found next time; never blocks."""
        if self._cache is not None:
            self._cache.keep(work)
