"""`fused.Passes` in Triton: each reads its input once, computes in float32 and writes once."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from worker.engine.fused import Norm

NORMED, TURNED, GATED = 4_096, 4_096, 1_024  # elements of a program

# What differs from batch to batch is not specialized, or a batch would wait for a compiler.


class TritonPasses:
    """Implements `Passes`; see there."""

    def normed(self, states: Tensor, norm: Norm) -> Tensor:
        tokens, width = states.shape
        out = states.new_empty(tokens, width)
        block = triton.next_power_of_2(width)
        rows = max(1, NORMED // block)
        _norm[(triton.cdiv(tokens, rows),)](
            states, norm.weight, out, tokens, width, norm.eps, rows, block
        )
        return out

    def rotated(
        self, states: Tensor, norm: Norm | None, cos: Tensor, sin: Tensor, rows: Tensor | None
    ) -> Tensor:
        _, heads, width = states.shape
        many = len(states) if rows is None else len(rows)
        out = states.new_empty(many, heads, width)
        at_once = max(1, TURNED // width)
        _rotate[(triton.cdiv(many * heads, at_once),)](
            states,
            norm.weight if norm else None,
            cos,
            sin,
            rows,
            out,
            states.stride(0),
            many * heads,
            heads,
            norm.eps if norm else 0.0,
            at_once,
            width // 2,
        )
        return out

    def gated(self, both: Tensor, function: str) -> Tensor:
        tokens, width = both.shape[0], both.shape[1] // 2
        out = both.new_empty(tokens, width)
        blocks = triton.cdiv(width, GATED)
        _gate[(tokens, blocks)](both, out, width, function == "silu", GATED)
        return out


@triton.jit(do_not_specialize=["tokens"])
def _norm(states, weight, out, tokens, width, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    at = tl.arange(0, BLOCK)[None, :]
    inside = (row < tokens) & (at < width)
    x = tl.load(states + row * width + at, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt(tl.sum(x * x, axis=1, keep_dims=True) / width + eps)
    w = tl.load(weight + at, mask=at < width, other=0.0)
    tl.store(out + row * width + at, (x * scale * w).to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["many"])
def _rotate(
    states,
    weight,
    cos,
    sin,
    rows,
    out,
    stride,
    many,
    heads,
    eps,
    AT_ONCE: tl.constexpr,
    HALF: tl.constexpr,
):
    to = tl.program_id(0).to(tl.int64) * AT_ONCE + tl.arange(0, AT_ONCE)[:, None]
    inside = to < many
    row, head = to // heads, to % heads
    if rows is not None:
        row = tl.load(rows + row, mask=inside, other=0)
    at = tl.arange(0, HALF)[None, :]
    place = states + row * stride + head * (2 * HALF) + at
    left = tl.load(place, mask=inside, other=0.0).to(tl.float32)
    right = tl.load(place + HALF, mask=inside, other=0.0).to(tl.float32)
    if weight is not None:
        squares = tl.sum(left * left + right * right, axis=1, keep_dims=True)
        scale = tl.rsqrt(squares / (2 * HALF) + eps)
        left = left * scale * tl.load(weight + at)
        right = right * scale * tl.load(weight + HALF + at)
    # The angles' second half repeats the first.
    angle = row * (2 * HALF) + at
    c = tl.load(cos + angle, mask=inside, other=0.0).to(tl.float32)
    s = tl.load(sin + angle, mask=inside, other=0.0).to(tl.float32)
    place = out + to * (2 * HALF) + at
    tl.store(place, (left * c - right * s).to(out.dtype.element_ty), mask=inside)
    tl.store(place + HALF, (right * c + left * s).to(out.dtype.element_ty), mask=inside)


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
