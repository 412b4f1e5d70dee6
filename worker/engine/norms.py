"""RMSNorm in three passes over the states instead of six."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Class -> what is added to its weight. All compute x * w / sqrt(mean(x^2) + eps).
_KINDS = {"GemmaRMSNorm": 1.0, "LlamaRMSNorm": 0.0, "Qwen2RMSNorm": 0.0, "Qwen3RMSNorm": 0.0}


def is_rms(part: Any) -> bool:
    """One whose formula is known."""
    return type(part).__name__ in _KINDS


def weight_of(norm: Any) -> Tensor:
    """What the states are multiplied by, float32, shape (width,)."""
    weight: Tensor = norm.weight.detach().float() + _KINDS[type(norm).__name__]
    return weight


def epsilon_of(norm: Any) -> float:
    epsilon: float = getattr(norm, "variance_epsilon", None) or norm.eps
    return epsilon


class LeanRMSNorm(nn.Module):
    """The same in float32: one pass for the sum of squares, two that scale."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight_of(norm), requires_grad=False)
        self.eps = epsilon_of(norm)

    @staticmethod
    def fits(part: Any) -> bool:
        return is_rms(part) and part.weight.dtype == torch.float32

    def forward(self, states: Tensor) -> Tensor:
        squares = torch.linalg.vector_norm(states, dim=-1, keepdim=True).square_()
        scale = squares.div_(states.shape[-1]).add_(self.eps).rsqrt_()
        out: Tensor = (states * scale).mul_(self.weight)
        return out
