"""RMSNorm in three passes over the states instead of six."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Class -> what is added to its weight. All compute x * w / sqrt(mean(x^2) + eps).
_KINDS = {"GemmaRMSNorm": 1.0, "LlamaRMSNorm": 0.0, "Qwen2RMSNorm": 0.0, "Qwen3RMSNorm": 0.0}


class LeanRMSNorm(nn.Module):
    """The same in float32: one pass for the sum of squares, two that scale."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.weight.detach() + _KINDS[type(norm).__name__])
        self.weight.requires_grad_(False)
        self.eps: float = getattr(norm, "variance_epsilon", None) or norm.eps

    @staticmethod
    def fits(part: Any) -> bool:
        return type(part).__name__ in _KINDS and part.weight.dtype == torch.float32

    def forward(self, states: Tensor) -> Tensor:
        squares = torch.linalg.vector_norm(states, dim=-1, keepdim=True).square_()
        scale = squares.div_(states.shape[-1]).add_(self.eps).rsqrt_()
        out: Tensor = (states * scale).mul_(self.weight)
        return out
