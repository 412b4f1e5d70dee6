"""The attention function that transformers' models call when a batch is packed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

from worker.engine.kernels import Kernels, windowed
from worker.engine.packing import Packing, Span, Varlen

# No mask function is registered under this name, so transformers builds no mask: the packing says
# who sees whom.
NAME = "rerankq_packed"
Window = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Attention:
    """How one model's sequences attend to each other, passed through its `forward`.

    Attributes:
        packing: where they lie.
        causal: a token sees only what stands before it.
        kernels: the kernel that is fastest for so many keys, on the CPU.
    """

    packing: Packing
    causal: bool
    kernels: Kernels


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    packed: Attention,
    only_scored: bool = False,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Shapes: query (1, heads, tokens, d), key and value (1, groups, tokens, d); result
    (1, tokens, heads, d).

    Args:
        only_scored: the states of other tokens are not needed any more; they become 0.
        sliding_window: a token sees less than so many to either side (not causal).

    Raises:
        NotImplementedError: the model wants something this does not know.
    """
    if attention_mask is not None or options.get("softcap") or options.get("position_bias"):
        raise NotImplementedError("a mask, a softcap or a bias inside packed attention")
    if sliding_window is not None and packed.causal:
        raise NotImplementedError("a causal sliding window inside packed attention")
    reach = None if sliding_window is None else sliding_window - 1
    heads = query[0], key[0], value[0]
    if packed.packing.varlen is not None:
        return _in_one_call(*heads, scaling, packed.packing.varlen, packed.causal, reach), None
    return _span_by_span(*heads, scaling, packed, only_scored, reach), None


def _in_one_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float,
    layout: Varlen,
    causal: bool,
    reach: int | None,
) -> Tensor:
    """Args: reach: so many tokens to either side are seen, if not all."""
    queries, keys, values = (states.transpose(0, 1) for states in (query, key, value))
    if layout.key_rows is not None:
        keys, values = (states.index_select(0, layout.key_rows) for states in (keys, values))
    sides = -1 if reach is None else reach
    window = (-1, 0) if causal else (sides, sides)
    return varlen(queries, keys, values, scaling, layout, window)[None]


def _span_by_span(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float,
    packed: Attention,
    only_scored: bool,
    reach: int | None,
) -> Tensor:
    """Args: reach: as in `_in_one_call`."""
    # In bfloat16 each of the many small shapes would be compiled, which takes longer than it saves.
    dtype = query.dtype
    query, key, value = query.float(), key.float(), value.float()
    # Behind a window the scored token sees a part of its keys, which a lone query cannot tell.
    alone = only_scored and reach is None
    # Contiguous for the products that follow: token by token.
    out = query.new_empty(query.shape[1], query.shape[0], query.shape[2]).transpose(0, 1)
    if alone:
        out.zero_()
    for span in packed.packing.scored if alone else packed.packing.spans:
        keys, values = _seen(key, span), _seen(value, span)
        queries = query[:, slice(*span.queries)]
        kernel = packed.kernels(span.many_keys)
        if reach is None:
            states = kernel(queries, keys, values, scaling, packed.causal)
        else:
            states = windowed(queries, keys, values, scaling, reach, kernel)
        out[:, slice(*span.queries)] = states
    return out.transpose(0, 1)[None].to(dtype)


def _seen(states: Tensor, span: Span) -> Tensor:
    own = states[:, slice(*span.keys)]
    if not span.prefix[1]:
        return own
    return torch.cat((states[:, slice(*span.prefix)], own), dim=1)


def varlen(
    queries: Tensor, keys: Tensor, values: Tensor, scaling: float, layout: Varlen, window: Window
) -> Tensor:
    """CUDA's kernel; keys and values lie as the layout has them, shapes (rows, heads or groups, d).

    Args:
        window: how many keys to the left and to the right are seen; -1: all.
    """
    from torch.nn.attention.varlen import varlen_attn

    told: dict[str, Any] = {}
    if _wants_told(varlen_attn):  # torch 2.11 takes groups without being told
        told["enable_gqa"] = queries.shape[1] != keys.shape[1]
    lengths = (layout.queries, layout.keys, layout.most_queries, layout.most_keys)
    states: Any = varlen_attn(
        queries, keys, values, *lengths, scale=scaling, window_size=window, **told
    )
    out: Tensor = states
    return out


@cache
def _wants_told(kernel: Callable[..., Any]) -> bool:
    return "enable_gqa" in signature(kernel).parameters


AttentionInterface.register(NAME, attend)
