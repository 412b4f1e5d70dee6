"""Linear layers with weights packed once for oneDNN, and what can be fused into them.

torch's own linear walks the weight as it lies; packed, the same product ran at 1.0 to 2.3 times the
speed in float32, by processor. The operators are private to torch (its compiler uses them), so
`swap` tries them first, and only takes what agrees and wins.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu
from transformers.activations import GELUActivation

_ops: Any = torch.ops.mkldnn
_GELU = (nn.GELU, GELUActivation)


class PackedLinear(nn.Module):
    """`nn.Linear`, with one of oneDNN's unary functions behind it (`none`, `gelu`, `swish`).

    Raises:
        RuntimeError, AttributeError: torch or the processor cannot.
    """

    def __init__(self, linear: nn.Linear, then: str = "none") -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self.packed = _ops._reorder_linear_weight(linear.weight.detach(), None)
        self._then: tuple[str, list[Any], str] = (then, [], "none" if then == "gelu" else "")

    def forward(self, states: Tensor) -> Tensor:
        out: Tensor = _ops._linear_pointwise(states, self.packed, self.bias, *self._then)
        return out

    def times(self, states: Tensor, other: Tensor) -> Tensor:
        """The layer's output times `other`, elementwise."""
        out: Tensor = _ops._linear_pointwise(states, other, self.packed, self.bias, "mul")
        return out


class InPlaceGated(nn.Module):
    """down(silu(gate(x)) * up(x)) as in Qwen, both steps between the products in place."""

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.gate, self.up, self.down = mlp.gate_proj, mlp.up_proj, mlp.down_proj

    @staticmethod
    def fits(part: Any) -> bool:
        linears = ("gate_proj", "up_proj", "down_proj")
        plain = all(type(getattr(part, name, None)) is nn.Linear for name in linears)
        act = getattr(part, "act_fn", None)
        return plain and (isinstance(act, nn.SiLU) or type(act).__name__ == "SiLUActivation")

    def forward(self, states: Tensor) -> Tensor:
        gate = silu(self.gate(states), inplace=True)
        out: Tensor = self.down(gate.mul_(self.up(states)))
        return out


class PackedGated(InPlaceGated):
    """The same with packed linears."""

    then = "none"

    def __init__(self, mlp: Any) -> None:
        nn.Module.__init__(self)
        self.gate = PackedLinear(mlp.gate_proj, self.then)
        self.up = PackedLinear(mlp.up_proj)
        self.down = PackedLinear(mlp.down_proj)


class FusedGated(PackedGated):
    """The same, both steps within the products."""

    then = "swish"

    def forward(self, states: Tensor) -> Tensor:
        out: Tensor = self.down(self.up.times(states, self.gate(states)))
        return out


class FusedIntermediate(nn.Module):
    """gelu(dense(x)) as in BERT, the function within the product."""

    def __init__(self, intermediate: Any) -> None:
        super().__init__()
        self.dense = PackedLinear(intermediate.dense, "gelu")

    @staticmethod
    def fits(part: Any) -> bool:
        act = getattr(part, "intermediate_act_fn", None)
        return type(getattr(part, "dense", None)) is nn.Linear and _is_gelu(act)

    def forward(self, states: Tensor) -> Tensor:
        out: Tensor = self.dense(states)
        return out


class PackedIntermediate(FusedIntermediate):
    """The same, the function behind the product."""

    def __init__(self, intermediate: Any) -> None:
        nn.Module.__init__(self)
        self.dense = PackedLinear(intermediate.dense)

    def forward(self, states: Tensor) -> Tensor:
        return gelu(self.dense(states))


def _is_gelu(act: Any) -> bool:
    exact = getattr(act, "approximate", "none") == "none"
    return isinstance(act, _GELU) and exact
