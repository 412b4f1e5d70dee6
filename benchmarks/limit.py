"""What the CPU's matrix products reach at a model's layer shapes, as a contender that alternates.

    python -m benchmarks.limit THREADS

A request has the (inputs, outputs) of a layer's linears and a dtype. The answer has, by way of
computing them, the GFLOP/s weighted by their share of the operations; `best` takes the fastest way
for each shape.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

# Read when torch is loaded. A product of milliseconds loses nothing by threads that sleep at its
# end; threads that spin would read a tenth of the rate while anything else runs.
os.environ["OMP_WAIT_POLICY"] = "passive"

import torch

from benchmarks.peers.lines import serve

TOKENS = (512, 2_048)  # rows; the faster of the two counts
WINDOW_S = 0.05
Product = Callable[[], torch.Tensor]


def rates(matrices: list[tuple[int, int]], dtype: torch.dtype) -> dict[str, float]:
    """GFLOP/s by way, and of the best way for each shape."""
    measured = {shape: _ways(*shape, dtype) for shape in set(matrices)}
    flops = {shape: 2 * shape[0] * shape[1] for shape in measured}
    total = sum(flops[shape] for shape in matrices)
    found = {}
    for way in next(iter(measured.values())):
        found[way] = total / sum(flops[shape] / measured[shape][way] for shape in matrices)
    seconds = sum(flops[shape] / max(measured[shape].values()) for shape in matrices)
    return found | {"best": total / seconds}


@torch.inference_mode()
def _ways(inputs: int, outputs: int, dtype: torch.dtype) -> dict[str, float]:
    """GFLOP/s of each way at one shape."""
    best: dict[str, float] = {}
    for rows in TOKENS:
        for name, product in _products(rows, inputs, outputs, dtype).items():
            rate = 2 * rows * inputs * outputs / _seconds(product) / 1e9
            best[name] = max(best.get(name, 0.0), rate)
    return best


def _products(rows: int, inputs: int, outputs: int, dtype: torch.dtype) -> dict[str, Product]:
    x = torch.randn(rows, inputs, dtype=dtype)
    weight = torch.randn(outputs, inputs, dtype=dtype)
    bias = torch.zeros(outputs, dtype=dtype)
    across = weight.t().contiguous()
    products: dict[str, Product] = {
        "torch.mm": lambda: torch.mm(x, across),
        "F.linear": lambda: torch.nn.functional.linear(x, weight, bias),
    }
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        pointwise = torch.ops.mkldnn._linear_pointwise
        pointwise(x, packed, bias, "none", [], "")
    except (AttributeError, RuntimeError):  # no oneDNN, or none for this dtype on this CPU
        return products
    return products | {"prepacked": lambda: pointwise(x, packed, bias, "none", [], "")}


def _seconds(product: Product) -> float:
    """The median over a window, so that a neighbour on the machine counts as for the contenders."""
    product()
    taken: list[float] = []
    ends = time.perf_counter() + WINDOW_S
    while time.perf_counter() < ends or len(taken) < 3:
        started = time.perf_counter()
        product()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main() -> None:
    torch.set_num_threads(int(sys.argv[1]))

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        matrices = [(inputs, outputs) for inputs, outputs in asked["matrices"]]
        return rates(matrices, getattr(torch, asked["dtype"]))

    serve(answer)


if __name__ == "__main__":
    main()
