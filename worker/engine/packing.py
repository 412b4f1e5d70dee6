"""How a batch lies in one row: no padding, and a prefix that many pairs share only once.

    [prefix A][document 1][document 2][prefix B][document 3] ...

A causal model's states of a prefix do not depend on what follows, so each document's attention
reaches back to the one copy (the idea of https://github.com/michaelfeil/radix-mlp).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from worker.engine.interface import Pair


@dataclass(frozen=True, slots=True)
class Span:
    """Which tokens of the row look at which, as (start, stop) indexes into it.

    Attributes:
        queries: the tokens that look.
        keys: those they look at, themselves among them.
        prefix: those that stand before these in their sequence, elsewhere in the row.
    """

    queries: tuple[int, int]
    keys: tuple[int, int]
    prefix: tuple[int, int] = (0, 0)

    @property
    def many_queries(self) -> int:
        return self.queries[1] - self.queries[0]

    @property
    def many_keys(self) -> int:
        return self.keys[1] - self.keys[0] + self.prefix[1] - self.prefix[0]


@dataclass(frozen=True, slots=True)
class Packing:
    """Where the sequences of a packed row lie.

    Attributes:
        spans: of all tokens, in the order of the row.
        scored: one span for each pair, of the single token whose state is its score.
        rows: int64, shape (pairs,): those tokens.
        varlen: the same for CUDA's kernel; None on the CPU.
    """

    spans: Sequence[Span]
    scored: Sequence[Span]
    rows: torch.Tensor
    varlen: Varlen | None = None

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Packing:
        """With each of its tensors changed."""
        varlen = self.varlen.mapped(change) if self.varlen else None
        return replace(self, rows=change(self.rows), varlen=varlen)


@dataclass(frozen=True, slots=True)
class Varlen:
    """Cumulative lengths, int32, shape (spans + 1,), and which token each key is, if not itself."""

    queries: torch.Tensor
    keys: torch.Tensor
    key_rows: torch.Tensor | None
    most_queries: int
    most_keys: int

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Varlen:
        """With each of its tensors changed."""
        rows = None if self.key_rows is None else change(self.key_rows)
        return replace(self, queries=change(self.queries), keys=change(self.keys), key_rows=rows)


@dataclass(frozen=True, slots=True)
class Row:
    """A packed batch: ids and positions, int64, shape (1, tokens), and where things lie."""

    ids: torch.Tensor
    positions: torch.Tensor
    packing: Packing
    heads: Sequence[tuple[int, int]]  # (start, stop) of each pair's part before the document


def pack_causal(pairs: Sequence[Pair]) -> Row:
    """Each prefix once, its documents behind it; the last token of each is scored."""
    laid = _Laid()
    scored: dict[int, Span] = {}
    for members in _by_prefix(pairs):
        prefix = laid.add(pairs[members[0]].shared, 0)
        laid.spans.append(Span(prefix, prefix))
        for index in members:
            own = laid.add(pairs[index].own, prefix[1] - prefix[0])
            laid.spans.append(Span(own, own, prefix))
            last = (own if own[1] > own[0] else prefix)[1]  # a template may end with the document
            scored[index] = Span((last - 1, last), own, prefix)
    return laid.row([scored[index] for index in range(len(pairs))], [])


def pack_whole(pairs: Sequence[Pair], first_position: int) -> Row:
    """One sequence after the other, since every token sees all of its pair; the first is scored.

    Args:
        first_position: what the model calls a sequence's first position.
    """
    laid = _Laid()
    heads = []
    for pair in pairs:
        whole = laid.add((*pair.shared, *pair.own), first_position)
        laid.spans.append(Span(whole, whole))
        heads.append((whole[0], whole[0] + len(pair.shared)))
    scored = [Span((span.keys[0], span.keys[0] + 1), span.keys) for span in laid.spans]
    return laid.row(scored, heads)


class _Laid:
    """What has been put into the row so far."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._ids: list[Any] = []
        self._positions: list[Any] = []
        self._stop = 0

    def add(self, ids: Sequence[int], first_position: int) -> tuple[int, int]:
        start = self._stop
        self._stop += len(ids)
        self._ids.append(np.asarray(ids, dtype=np.int64))
        self._positions.append(np.arange(first_position, first_position + len(ids)))
        return start, self._stop

    def row(self, scored: Sequence[Span], heads: Sequence[tuple[int, int]]) -> Row:
        rows = torch.tensor([span.queries[0] for span in scored])
        ids = torch.from_numpy(np.concatenate(self._ids))[None]
        positions = torch.from_numpy(np.concatenate(self._positions))[None]
        return Row(ids, positions, Packing(self.spans, scored, rows), heads)


def _by_prefix(pairs: Sequence[Pair]) -> Iterable[list[int]]:
    """Indexes of the pairs of each prefix. Pairs that share one hold the same object."""
    groups: dict[int, list[int]] = {}
    for index, pair in enumerate(pairs):
        groups.setdefault(id(pair.shared), []).append(index)
    return groups.values()


def varlen_of(packing: Packing) -> Varlen:
    """The packing for a kernel that takes every sequence's queries and keys one after the other."""
    spans = packing.spans
    queries, keys = [s.many_queries for s in spans], [s.many_keys for s in spans]
    parts = [np.arange(*part) for s in spans for part in (s.prefix, s.keys)]
    shared = any(span.prefix[1] for span in spans)
    return Varlen(
        torch.from_numpy(np.cumsum([0, *queries], dtype=np.int32)),
        torch.from_numpy(np.cumsum([0, *keys], dtype=np.int32)),
        torch.from_numpy(np.concatenate(parts)) if shared else None,
        max(queries),
        max(keys),
    )
