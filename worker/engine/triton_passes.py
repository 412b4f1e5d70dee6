"""`fused.Passes` in Triton: each reads its input once, computes in float32 and writes once.

One program a token (for the gate: a block of a token), so nothing depends on how many there are.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from worker.engine.fused import Norm

GATED_AT_ONCE = 1_024
WIDE = 2_048  # elements from which a program takes more threads


class TritonPasses:
    """Implements `Passes`; see there."""

    def normed(self, states: Tensor, norm: Norm) -> Tensor:
        tokens, width = states.shape
        out = states.new_empty(tokens, width)
        block = triton.next_power_of_2(width)
        _norm[(tokens,)](
            states, norm.weight, out, width, norm.eps, block, num_warps=8 if block > WIDE else 4
        )
        return out

    def rotated(
        self, states: Tensor, norm: Norm | None, cos: Tensor, sin: Tensor, rows: Tensor | None
    ) -> Tensor:
        _, heads, width = states.shape
        many = len(states) if rows is None else len(rows)
        out = states.new_empty(many, heads, width)
        block = triton.next_power_of_2(heads)
        _rotate[(many,)](
            states,
            norm.weight if norm else None,
            cos,
            sin,
            rows,
            out,
            states.stride(0),
            heads,
            norm.eps if norm else 0.0,
            block,
            width // 2,
            num_warps=8 if block * width > WIDE else 4,
        )
        return out

    def gathered(self, states: Tensor, rows: Tensor) -> Tensor:
        _, heads, width = states.shape
        out = states.new_empty(len(rows), heads, width)
        block = triton.next_power_of_2(heads * width)
        _gather[(len(rows),)](states, rows, out, states.stride(0), heads * width, block)
        return out

    def gated(self, both: Tensor, function: str) -> Tensor:
        tokens, width = both.shape[0], both.shape[1] // 2
        out = both.new_empty(tokens, width)
        blocks = triton.cdiv(width, GATED_AT_ONCE)
        _gate[(tokens, blocks)](both, out, width, function == "silu", GATED_AT_ONCE)
        return out


@triton.jit
def _norm(states, weight, out, width, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    inside = at < width
    x = tl.load(states + row * width + at, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x) / width + eps)
    w = tl.load(weight + at, mask=inside, other=0.0)
    tl.store(out + row * width + at, (x * scale * w).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _rotate(
    states, weight, cos, sin, rows, out, stride, heads, eps, HEADS: tl.constexpr, HALF: tl.constexpr
):
    to = tl.program_id(0).to(tl.int64)
    row = to if rows is None else tl.load(rows + to)
    head, at = tl.arange(0, HEADS)[:, None], tl.arange(0, HALF)[None, :]
    inside = head < heads
    place = states + row * stride + head * (2 * HALF) + at
    left = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    right = tl.load(place + HALF, mask=inside, other=0.0).to(tl.float32)
    if weight is not None:
        squares = tl.sum(left * left + right * right, axis=1, keep_dims=True)
        scale = tl.rsqrt(squares / (2 * HALF) + eps)
        left = left * scale * tl.load(weight + at)
        right = right * scale * tl.load(weight + HALF + at)
    # The angles' second half repeats the first.
    c = tl.load(cos + row * (2 * HALF) + at).to(tl.float32)
    s = tl.load(sin + row * (2 * HALF) + at).to(tl.float32)
    place = out + to * heads * (2 * HALF) + head * (2 * HALF) + at
    tl.store(place, (left * c - right * s).to(out.dtype.element_ty), mask=inside)
    tl.store(place + HALF, (right * c + left * s).to(out.dtype.element_ty), mask=inside)


@triton.jit
def _gather(states, rows, out, stride, width, BLOCK: tl.constexpr):
    to = tl.program_id(0).to(tl.int64)
    row = tl.load(rows + to)
    at = tl.arange(0, BLOCK)
    inside = at < width
    tl.store(out + to * width + at, tl.load(states + row * stride + at, mask=inside), mask=inside)


@triton.jit
def _gate(both, out, width, SILU: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < width
    gate = tl.load(both + row * 2 * width + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(both + row * 2 * width + width + at, mask=inside, other=0.0).to(tl.float32)
    if SILU:
        gate = gate * tl.sigmoid(gate)
    else:  # GELU by tanh: x * (1 + tanh(y)) / 2 is x * sigmoid(2y)
        gate = gate * tl.sigmoid(1.5957691216057308 * (gate + 0.044715 * gate * gate * gate))
    tl.store(out + row * width + at, (gate * up).to(out.dtype.element_ty), mask=inside)
