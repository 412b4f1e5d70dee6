"""Attention of one sequence on the CPU, in two ways: neither is faster everywhere.

Shapes: queries (heads, n, d), keys and values (groups, m, d) with heads a multiple of groups (as in
grouped-query attention), n <= m; the queries are the last n of the m tokens. Result (heads, n, d).
All float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from worker.engine.trial import least_times

Kernel = Callable[[Tensor, Tensor, Tensor, float, bool], Tensor]

SIZES, ROUNDS = (64, 192, 512), 3  # keys of the trial sequences
CHUNK = 128  # queries at once: the causal triangle is computed in steps of so many


def fused(queries: Tensor, keys: Tensor, values: Tensor, scale: float, causal: bool) -> Tensor:
    """torch's kernel, which never writes the scores to memory."""
    n, m = queries.shape[1], keys.shape[1]
    mask = None
    if causal and 1 < n < m:
        # The kernel's own triangle starts at the first key, so this one is told.
        mask = torch.ones(n, m, dtype=torch.bool, device=queries.device).tril(m - n)
    return scaled_dot_product_attention(
        queries[None],
        keys[None],
        values[None],
        attn_mask=mask,
        is_causal=causal and n == m,
        scale=scale,
        enable_gqa=len(queries) != len(keys),
    )[0]


def products(queries: Tensor, keys: Tensor, values: Tensor, scale: float, causal: bool) -> Tensor:
    """Two matrix products and a softmax; heads that share keys become rows of one product."""
    n, m = queries.shape[1], keys.shape[1]
    if not causal or n <= CHUNK:
        return _block(queries, keys, values, scale, causal)
    out = torch.empty_like(queries)
    for start in range(0, n, CHUNK):
        stop = min(n, start + CHUNK)
        seen = m - n + stop
        out[:, start:stop] = _block(
            queries[:, start:stop], keys[:, :seen], values[:, :seen], scale, causal
        )
    return out


def _block(queries: Tensor, keys: Tensor, values: Tensor, scale: float, causal: bool) -> Tensor:
    heads, n, d = queries.shape
    groups, m, _ = keys.shape
    rows = (queries * scale).reshape(groups, -1, d)
    scores = torch.bmm(rows, keys.transpose(1, 2))
    if causal and n > 1:
        # Only among the queries themselves does anything lie ahead.
        scores.view(heads, n, m)[..., m - n :].add_(_ahead(n))
    return torch.bmm(torch.softmax(scores, dim=-1), values).view(heads, n, d)


@lru_cache(CHUNK)
def _ahead(n: int) -> Tensor:
    return torch.full((n, n), -math.inf).triu(1)


def windowed(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, reach: int, kernel: Kernel
) -> Tensor:
    """Each token looks at most `reach` tokens to either side (local attention, not causal).

    Only the keys a chunk of queries can see are touched, so the cost grows linearly.
    """
    first, m = keys.shape[1] - queries.shape[1], keys.shape[1]
    if m <= reach + 1:
        return kernel(queries, keys, values, scale, False)
    out = torch.empty_like(queries)
    for start in range(0, queries.shape[1], CHUNK):
        stop = min(queries.shape[1], start + CHUNK)
        low, high = max(0, first + start - reach), min(m, first + stop + reach)
        at = torch.arange(first + start, first + stop, device=queries.device)
        to = torch.arange(low, high, device=queries.device)
        out[:, start:stop] = scaled_dot_product_attention(
            queries[None, :, start:stop],
            keys[None, :, low:high],
            values[None, :, low:high],
            attn_mask=(at[:, None] - to).abs() <= reach,
            scale=scale,
            enable_gqa=len(queries) != len(keys),
        )[0]
    return out


@dataclass(frozen=True, slots=True)
class Kernels:
    """Which kernel takes a sequence: the first whose limit, in keys, is not below its length."""

    upto: Sequence[tuple[int, Kernel]] = ()

    def __call__(self, keys: int) -> Kernel:
        return next((kernel for limit, kernel in self.upto if keys <= limit), fused)

    def __str__(self) -> str:
        names = ", ".join(f"{kernel.__name__} to {limit}" for limit, kernel in self.upto)
        return f"attention {names} keys, then fused" if names else "attention fused"


def fastest(heads: int, groups: int, width: int, *, causal: bool) -> Kernels:
    """Try both on sequences of each size, in turn, and take what is faster there."""
    upto: list[tuple[int, Kernel]] = []
    for size in SIZES:
        generator = torch.Generator().manual_seed(size)
        queries, keys, values = (
            torch.randn(size, many, width, generator=generator).transpose(0, 1)
            for many in (heads, groups, groups)
        )
        runs = [partial(kernel, queries, keys, values, 1.0, causal) for kernel in (fused, products)]
        of_fused, of_products = least_times(runs, ROUNDS)
        kernel = products if of_products < of_fused else fused
        if upto and upto[-1][1] is kernel:
            upto.pop()
        upto.append((size, kernel))
    # Whatever is longer is `fused`, so a last one that is needs no limit.
    return Kernels(tuple(upto if upto[-1][1] is not fused else upto[:-1]))
