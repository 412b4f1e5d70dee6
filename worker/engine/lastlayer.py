"""The last layer, for the tokens whose states are read and no others.

What a token's state becomes in the last layer is of use to nobody else, so everything behind the
attention is computed for one token of each pair.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from worker.engine.attention import Attention
from worker.engine.layers import PackedLayer


def trimmed(layer: nn.Module) -> nn.Module | None:
    """The layer, trimmed; None if its kind is not known. Unpacked, it does what it did."""
    children = sorted(name for name, _ in layer.named_children())
    for known in (Decoder, Encoder, Modern):
        if sorted(known.parts) == children:
            return known(layer)
    return None


class _Trimmed(PackedLayer):
    parts: tuple[str, ...]

    def of_packed(self, states: Tensor, packed: Attention, /, *args: Any, **options: Any) -> Tensor:
        return self.scored(states, packed.packing.rows, *args, only_scored=True, **options)

    def scored(self, states: Tensor, rows: Tensor, *args: Any, **options: Any) -> Tensor:
        """The layer's output at these tokens, shape (1, pairs, hidden)."""
        raise NotImplementedError


class Decoder(_Trimmed):
    """Qwen, Gemma (the first): norms before, two residuals."""

    parts = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")

    def scored(self, states: Tensor, rows: Tensor, *args: Any, **options: Any) -> Tensor:
        seen, _ = self.layer.self_attn(self.layer.input_layernorm(states), *args, **options)
        states = (states + seen)[:, rows]
        out: Tensor = states + self.layer.mlp(self.layer.post_attention_layernorm(states))
        return out


class Encoder(_Trimmed):
    """BERT and its descendants: norms behind."""

    parts = ("attention", "intermediate", "output")

    def scored(self, states: Tensor, rows: Tensor, *args: Any, **options: Any) -> Tensor:
        seen, _ = self.layer.attention(states, *args, **options)
        seen = seen[:, rows]
        out: Tensor = self.layer.output(self.layer.intermediate(seen), seen)
        return out


class Modern(_Trimmed):
    """ModernBERT."""

    parts = ("attn_norm", "attn", "mlp_norm", "mlp")

    def scored(self, states: Tensor, rows: Tensor, *args: Any, **options: Any) -> Tensor:
        seen, _ = self.layer.attn(self.layer.attn_norm(states), *args, **options)
        states = (states + seen)[:, rows]
        out: Tensor = states + self.layer.mlp(self.layer.mlp_norm(states))
        return out
