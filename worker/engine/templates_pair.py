"""Two sequences with the tokenizer's own special tokens around them, as in BERT and XLM-R."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tokenizers import Tokenizer

from worker.engine.documents import DocumentTokens
from worker.engine.interface import Pair
from worker.engine.templates import (
    PREFIXES_KEPT,
    Limits,
    Prefix,
    ids_of,
    refuse_instruction,
    room_for_document,
)


class SequencePairTemplate:
    """Implements `Template` for a pair of sequences.

    Args:
        tokenizer: says which special tokens stand around the sequences; not kept.
        texts: for queries and documents.
        prompt: what the model wants before each query.

    Attributes:
        types: type ids of the query's side and the document's.
    """

    name = "sequence-pair"
    takes_instruction = False

    def __init__(self, tokenizer: Tokenizer, texts: Tokenizer, prompt: str = "") -> None:
        self._texts = texts
        self._prompt = prompt
        self._documents = DocumentTokens(texts)
        self._head, self._middle, self._tail, self.types = _special_tokens(tokenizer)
        self._shared = lru_cache(PREFIXES_KEPT)(self._share)

    def encode(
        self, query: str, instruction: str | None, documents: Sequence[str], limits: Limits
    ) -> list[Pair]:
        if instruction is not None:
            raise refuse_instruction()
        shared = self._shared(query)
        room = room_for_document(shared, limits)
        return [
            Pair(shared.ids, (*ids[:room], *shared.tail), len(ids) > room)
            for ids in self._documents(documents)
        ]

    def _share(self, query: str) -> Prefix:
        ids = ids_of(self._texts, self._prompt + query)
        return Prefix(
            (*self._head, *ids, *self._middle), self._tail, len(ids_of(self._texts, query))
        )


def _special_tokens(
    tokenizer: Tokenizer,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, int]]:
    """What the tokenizer puts before, between and after two sequences, and their type ids.

    Read off an encoded pair, so every post-processor is honoured without knowing it.
    """
    encoded = tokenizer.encode("a", "b")
    owner = encoded.sequence_ids
    first, second = owner.index(0), owner.index(1)
    end_first = first + owner.count(0)
    end_second = second + owner.count(1)
    ids, types = encoded.ids, encoded.type_ids
    if len(set(types[:second])) > 1 or len(set(types[second:])) > 1:
        raise ValueError("the tokenizer mixes type ids within one sequence")
    return (
        tuple(ids[:first]),
        tuple(ids[end_first:second]),
        tuple(ids[end_second:]),
        (types[0], types[second]),
    )
