"""Holds Triton's passes to the plain formulas, interpreted on the CPU.

    TRITON_INTERPRET=1 python -m tests.interpreted_passes

A program of its own: Triton decides on import whether it interprets. Prints how much was compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from tests.unit.test_fused import PlainPasses
from worker.engine.fused import Norm
from worker.engine.triton_passes import GATED, TritonPasses

PLAIN, TRITON = PlainPasses(), TritonPasses()
AGREE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}
TOKENS, HEADS, GROUPS = 37, 6, 2  # neither fills its last program, nor is a power of two


def main() -> None:
    torch.manual_seed(0)
    compared = 0
    for dtype, agree in AGREE.items():
        for name, found, expected in (*norms(dtype), *rotations(dtype), *gates(dtype)):
            assert found.dtype == dtype, name
            torch.testing.assert_close(found, expected, atol=agree, rtol=agree, msg=name)
            compared += 1
    print(f"{compared} passes agree")


def norms(dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    for width in (48, 896, 5_000):
        states, norm = torch.randn(TOKENS, width, dtype=dtype), Norm(torch.randn(width), 1e-6)
        yield f"norm of {width}", TRITON.normed(states, norm), PLAIN.normed(states, norm)


def rotations(dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    for width in (16, 128):
        whole = torch.randn(TOKENS, HEADS + 2 * GROUPS, width, dtype=dtype)
        angles = torch.randn(TOKENS, width // 2)
        turns = [torch.cat([half, half], dim=1).to(dtype) for half in (angles.cos(), angles.sin())]
        norm, rows = Norm(torch.randn(width), 1e-6), torch.randint(0, TOKENS, (90,))
        parts = whole.split([HEADS, GROUPS, GROUPS], dim=1)[:2]
        for part, normed, of in itertools.product(parts, (None, norm), (None, rows)):
            found, expected = (
                passes.rotated(part, normed, *turns, of) for passes in (TRITON, PLAIN)
            )
            yield f"rotation of {tuple(part.shape)}, {normed=}, {of=}", found, expected


def gates(dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    for width, function in itertools.product((96, GATED + 76), ("silu", "gelu_tanh")):
        both = torch.randn(TOKENS, 2 * width, dtype=dtype)
        found, expected = (passes.gated(both, function) for passes in (TRITON, PLAIN))
        yield f"{function} of {width}", found, expected


if __name__ == "__main__":
    main()
