"""From texts to token ids, exactly as the model's reference does it.

The part before the document is tokenized once for all documents of a query, each document on its
own, and the ids are joined. That equals tokenizing the whole because the cut falls where the
pre-tokenizer splits anyway: before the space of `<Document>: ...`, or between the two sequences of
a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from tokenizers import Tokenizer

from worker.engine.interface import Pair, Unscorable

# https://huggingface.co/Qwen/Qwen3-Reranker-0.6B, "Transformers Usage"
QWEN3_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
QWEN3_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
QWEN3_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

LEAST_DOCUMENT_TOKENS = 1
PREFIXES_KEPT = 256  # 75 MB if each were of 8,192 tokens


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
class Limits:
    """In tokens. `query` 0: as many as leave room for a document."""

    pair: int
    query: int


@dataclass(frozen=True, slots=True)
class Prefix:
    """What all documents of one query and instruction share.

    Kept for the next shard or job of the same query: it is tokenized once, and its ids are one
    object, by which the planner knows who shares it.
    """

    ids: tuple[int, ...]
    query_tokens: int


class Qwen3Template:
    """`<Instruct>`, `<Query>` and `<Document>` inside a chat that ends where yes or no follows."""

    name = "qwen3-reranker"
    takes_instruction = True

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._prefix = tuple(_ids(tokenizer, QWEN3_PREFIX))
        self._suffix = tuple(_ids(tokenizer, QWEN3_SUFFIX))
        self._shared = lru_cache(PREFIXES_KEPT)(self._share)

    def encode(
        self, query: str, instruction: str | None, documents: Sequence[str], limits: Limits
    ) -> list[Pair]:
        shared = self._shared(query, instruction if instruction is not None else QWEN3_INSTRUCTION)
        room = _room(shared, self._suffix, limits)
        encoded = self._tokenizer.encode_batch_fast(
            [f" {document}" for document in documents], add_special_tokens=False
        )
        return [_pair(shared, item.ids, self._suffix, room) for item in encoded]

    def _share(self, query: str, instruction: str) -> Prefix:
        head = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>:"
        ids = self._prefix + tuple(_ids(self._tokenizer, head))
        return Prefix(ids, len(_ids(self._tokenizer, query)))


class SequencePairTemplate:
    """Two sequences with the tokenizer's own special tokens around them, as in BERT and XLM-R."""

    name = "sequence-pair"
    takes_instruction = False

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._head, self._middle, self._tail, self.types = _special_tokens(tokenizer)
        self._shared = lru_cache(PREFIXES_KEPT)(self._share)

    def encode(
        self, query: str, instruction: str | None, documents: Sequence[str], limits: Limits
    ) -> list[Pair]:
        if instruction is not None:
            detail = "instruction: this model takes none"
            raise Unscorable("instruction_not_supported", detail, "instruction")
        shared = self._shared(query)
        room = _room(shared, self._tail, limits)
        encoded = self._tokenizer.encode_batch_fast(list(documents), add_special_tokens=False)
        return [_pair(shared, item.ids, self._tail, room) for item in encoded]

    def _share(self, query: str) -> Prefix:
        ids = _ids(self._tokenizer, query)
        return Prefix((*self._head, *ids, *self._middle), len(ids))


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def _room(shared: Prefix, tail: tuple[int, ...], limits: Limits) -> int:
    """Tokens left for a document."""
    query = shared.query_tokens
    if limits.query and query > limits.query:
        detail = f"query: {query} tokens; the limit is {limits.query}"
        raise Unscorable("query_too_long", detail, "query", limits.query)
    room = limits.pair - len(shared.ids) - len(tail)
    if room < LEAST_DOCUMENT_TOKENS:
        longest = max(0, query + room - LEAST_DOCUMENT_TOKENS)
        detail = (
            f"query: {query} tokens; with this instruction and template a pair of {limits.pair} "
            f"tokens leaves room for {longest}"
        )
        raise Unscorable("query_too_long", detail, "query", longest)
    return room


def _pair(shared: Prefix, document: list[int], tail: tuple[int, ...], room: int) -> Pair:
    return Pair(shared.ids, (*document[:room], *tail), len(document) > room)


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
