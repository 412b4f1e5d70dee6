"""A batch laid out on the CPU, and what scores it on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from worker.engine.interface import Layout, Pair
from worker.engine.packing import Packing


@dataclass(frozen=True, slots=True)
class Batch:
    """The model's inputs by name; `packing` where they lie packed."""

    tensors: dict[str, torch.Tensor]
    packing: Packing | None = None

    def pinned(self) -> Batch:
        """In memory a GPU can copy from while it works."""
        return self._mapped(torch.Tensor.pin_memory)

    def to(self, device: torch.device) -> Batch:
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def _mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        tensors = {name: change(tensor) for name, tensor in self.tensors.items()}
        return Batch(tensors, self.packing and self.packing.mapped(change))


class Forward(Protocol):
    """One way to lay batches out on the CPU and to score them on the device."""

    layout: Layout

    def collate(self, pairs: Sequence[Pair]) -> Batch: ...

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Log-odds, shape (pairs,), float32, of a collated batch that is on the device."""
        ...
