"""From texts to token ids, exactly as the model's reference does it.

The part before the document is tokenized once for all documents of a query, each document on its
own, and the ids are joined. That equals tokenizing the whole because the cut falls where the
reference cuts, too, or where the pre-tokenizer splits anyway: before the space of
`<Document>: ...`, or between the two sequences of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tokenizers import Tokenizer

from worker.engine.interface import Pair, Unscorable

LEAST_DOCUMENT_TOKENS = 1
PREFIXES_KEPT = 256  # 75 MB if each were of 8,192 tokens


@dataclass(frozen=True, slots=True)
class Limits:
    """In tokens. `query` 0: as many as leave room for a document; `document` None: all that fit."""

    pair: int
    query: int
    document: int | None = None


class Template(Protocol):
    """One model family's way to lay out a pair."""

    name: str
    takes_instruction: bool

    def encode(
        self, query: str, instruction: str | None, documents: Sequence[str], limits: Limits
    ) -> list[Pair]:
        """Raises: Unscorable."""
        ...


@dataclass(frozen=True, slots=True)
class Prefix:
    """What all documents of one query and instruction share.

    Kept for the next shard or job of the same query: it is tokenized once, and its ids are one
    object, by which the planner knows who shares it.

    Attributes:
        tail: what follows each document.
    """

    ids: tuple[int, ...]
    tail: tuple[int, ...]
    query_tokens: int


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    """Without special tokens around them."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def refuse_instruction() -> Unscorable:
    """Never ignored: honoured or refused."""
    detail = "instruction: this model takes none"
    return Unscorable("instruction_not_supported", detail, "instruction")


def room_for_document(
    shared: Prefix, limits: Limits, beside: int = 0, *, told: bool = False
) -> int:
    """Tokens left for a document and the `beside` tokens that are tokenized with it.

    Args:
        told: an instruction is part of what is shared.

    Raises:
        Unscorable: there are none, or the query has too many.
    """
    query = shared.query_tokens
    if limits.query and query > limits.query:
        detail = f"query: {query} tokens; the limit is {limits.query}"
        raise Unscorable("query_too_long", detail, "query", limits.query)
    room = limits.pair - len(shared.ids) - len(shared.tail)
    least = LEAST_DOCUMENT_TOKENS + beside
    if room < least:
        longest = max(0, query + room - least)
        if told and not longest:
            detail = (
                f"instruction: it leaves a pair of {limits.pair} tokens no room for a query; "
                f"with this one it is {least - room} tokens too long"
            )
            raise Unscorable("instruction_too_long", detail, "instruction", limits.pair)
        detail = (
            f"query: {query} tokens; with this instruction and template a pair of {limits.pair} "
            f"tokens leaves room for {longest}"
        )
        raise Unscorable("query_too_long", detail, "query", longest)
    return room if limits.document is None else min(room, limits.document + beside)
