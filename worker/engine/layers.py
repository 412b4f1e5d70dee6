"""A layer of a model that does otherwise when its batch is packed."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from worker.engine.attention import Attention


class PackedLayer(nn.Module):
    """Stands in a layer's place; unpacked, it is that layer."""

    layer: Any

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:  # what a model asks of its layers, such as their attention's type
            return getattr(super().__getattr__("layer"), name)

    def forward(self, states: Tensor, *args: Any, **options: Any) -> Any:
        packed: Attention | None = options.get("packed")
        if packed is None:
            return self.layer(states, *args, **options)
        return self.of_packed(states, packed, *args, **options)

    def of_packed(self, states: Tensor, packed: Attention, /, *args: Any, **options: Any) -> Tensor:
        """The layer's output, shape (1, tokens or pairs, hidden); `options` hold `packed`, too."""
        raise NotImplementedError
