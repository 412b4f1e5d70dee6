"""A prompt with slots, as causal rerankers have it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tokenizers import Tokenizer

from worker.engine.documents import DocumentTokens
from worker.engine.interface import Pair
from worker.engine.layout import Layout, Piece, Prompt, Slot
from worker.engine.templates import (
    PREFIXES_KEPT,
    Limits,
    Prefix,
    ids_of,
    refuse_instruction,
    room_for_document,
)


class PromptTemplate:
    """Implements `Template` for a prompt.

    Args:
        tokenizer: for the prompt's own pieces; not kept.
        texts: for pieces with a caller's text in them, and documents.
    """

    def __init__(self, prompt: Prompt, tokenizer: Tokenizer, texts: Tokenizer) -> None:
        self.name = prompt.name
        self.takes_instruction = prompt.told is not None
        self._texts = texts
        self._documents = DocumentTokens(texts)
        self._bare = _Laid(prompt.bare, tokenizer, texts)
        self._told = _Laid(prompt.told, tokenizer, texts) if prompt.told else None
        self._shared = lru_cache(PREFIXES_KEPT)(self._share)

    def encode(
        self, query: str, instruction: str | None, documents: Sequence[str], limits: Limits
    ) -> list[Pair]:
        laid = self._laid(instruction)
        shared = self._shared(query, instruction)
        room = room_for_document(shared, limits, laid.beside, told=instruction is not None)
        lead, trail = laid.layout.lead, laid.layout.trail
        encoded = self._documents([f"{lead}{document}{trail}" for document in documents])
        return [
            Pair(shared.ids, (*ids, *shared.tail))
            if len(ids) <= room
            else self._cut(laid, shared, ids, document, room)
            for ids, document in zip(encoded, documents, strict=True)
        ]

    def _cut(
        self, laid: _Laid, shared: Prefix, ids: Sequence[int], document: str, room: int
    ) -> Pair:
        if laid.trail:
            ids = ids_of(self._texts, laid.layout.lead + document)
        own = (*ids[: room - len(laid.trail)], *laid.trail, *shared.tail)
        return Pair(shared.ids, own, truncated=True)

    def _laid(self, instruction: str | None) -> _Laid:
        if instruction is None:
            return self._bare
        if self._told is None:
            raise refuse_instruction()
        return self._told

    def _share(self, query: str, instruction: str | None) -> Prefix:
        laid = self._laid(instruction)
        fills = {Slot.QUERY: query, Slot.INSTRUCTION: instruction or ""}
        return Prefix(
            laid.filled(laid.before, fills),
            laid.filled(laid.after, fills),
            len(ids_of(self._texts, query)),
        )


class _Laid:
    """A layout whose constant pieces are token ids."""

    def __init__(self, layout: Layout, tokenizer: Tokenizer, texts: Tokenizer) -> None:
        self.layout = layout
        self._texts = texts
        self.before = [_constant(piece, tokenizer) for piece in layout.before]
        self.after = [_constant(piece, tokenizer) for piece in layout.after]
        self.trail = tuple(ids_of(texts, layout.trail))
        # The blank that ends a lead is one token with the word behind it.
        self.beside = len(ids_of(texts, layout.lead.rstrip(" "))) + len(self.trail)

    def filled(self, pieces: list[Piece | list[int]], fills: dict[Slot, str]) -> tuple[int, ...]:
        ids: list[int] = []
        for piece in pieces:
            if isinstance(piece, list):
                ids += piece
            else:
                parts = (part if isinstance(part, str) else fills[part] for part in piece)
                ids += ids_of(self._texts, "".join(parts))
        return tuple(ids)


def _constant(piece: Piece, tokenizer: Tokenizer) -> Piece | list[int]:
    if any(isinstance(part, Slot) for part in piece):
        return piece
    return ids_of(tokenizer, "".join(str(part) for part in piece))
