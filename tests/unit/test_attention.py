"""The attention function as models call it, packed for the CPU and packed for CUDA's kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from worker.engine.attention import Attention, attend
from worker.engine.interface import Pair
from worker.engine.kernels import Kernels, fused, windowed
from worker.engine.packing import Packing, pack_causal, pack_whole, varlen_of

SHARED = tuple(range(7))
PAIRS = [Pair(SHARED, tuple(range(n))) for n in (1, 5, 150)] + [Pair((1, 2), (3, 4, 5))]
CAUSAL, WHOLE = pack_causal(PAIRS).packing, pack_whole(PAIRS, 0).packing


def states(packing: Packing, heads: int) -> Tensor:
    tokens = max(span.keys[1] for span in packing.spans)
    return torch.randn(1, tokens, heads, 8).transpose(1, 2)


def call(packing: Packing, causal: bool, q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    packed = Attention(packing, causal, Kernels())
    return attend(None, q, k, v, None, scaling=0.3, packed=packed, **options)[0]


def like_torchs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """What torch's `varlen_attn` is documented to do, sequence by sequence, on the CPU."""
    assert enable_gqa == (query.shape[1] != key.shape[1])
    out = []
    for i in range(len(cu_seq_q) - 1):
        q = query[cu_seq_q[i] : cu_seq_q[i + 1]].transpose(0, 1)
        k, v = (x[cu_seq_k[i] : cu_seq_k[i + 1]].transpose(0, 1) for x in (key, value))
        assert q.shape[1] <= max_q
        assert k.shape[1] <= max_k
        left, right = window_size
        if left >= 0 and right >= 0:
            states = windowed(q, k, v, scale, left, fused)
        else:
            states = fused(q, k, v, scale, right == 0)
        out.append(states.transpose(0, 1))
    return torch.cat(out)


@pytest.mark.parametrize("groups", [4, 2])
@pytest.mark.parametrize(("packing", "causal"), [(CAUSAL, True), (WHOLE, False)])
def test_the_layout_for_cuda_says_the_same(
    monkeypatch: pytest.MonkeyPatch, packing: Packing, causal: bool, groups: int
) -> None:
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", like_torchs)
    q, k, v = states(packing, 4), states(packing, groups), states(packing, groups)
    varlen = replace(packing, varlen=varlen_of(packing))
    torch.testing.assert_close(call(varlen, causal, q, k, v), call(packing, causal, q, k, v))
    if not causal:
        near = call(packing, causal, q, k, v, sliding_window=4)
        torch.testing.assert_close(call(varlen, causal, q, k, v, sliding_window=4), near)
        assert not torch.allclose(near, call(packing, causal, q, k, v))


@pytest.mark.parametrize(("packing", "causal"), [(CAUSAL, True), (WHOLE, False)])
def test_only_the_scored_tokens_states_can_be_had(packing: Packing, causal: bool) -> None:
    q, k, v = states(packing, 4), states(packing, 2), states(packing, 2)
    whole = call(packing, causal, q, k, v)
    scored = call(packing, causal, q, k, v, only_scored=True)
    torch.testing.assert_close(scored[:, packing.rows], whole[:, packing.rows])
    assert scored[:, packing.rows].abs().sum() == pytest.approx(scored.abs().sum())


@pytest.mark.parametrize("options", [{"softcap": 30.0}, {"sliding_window": 64}])
def test_what_it_does_not_know_is_refused(options: dict[str, Any]) -> None:
    q = states(CAUSAL, 4)
    with pytest.raises(NotImplementedError, match="inside packed attention"):
        call(CAUSAL, True, q, q, q, **options)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("packing", "causal"), [(CAUSAL, True), (WHOLE, False)])
def test_in_half_precision_it_is_that_of_float32_rounded(
    packing: Packing, causal: bool, dtype: torch.dtype
) -> None:
    q, k, v = (states(packing, heads).to(dtype) for heads in (4, 2, 2))
    expected = call(packing, causal, q.float(), k.float(), v.float()).to(dtype)
    assert torch.equal(call(packing, causal, q, k, v), expected)
