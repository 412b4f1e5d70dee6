"""The exact padded forward passes: one for causal yes/no models, one for classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch

from worker.engine.interface import Pair


class Forward(Protocol):
    """Scores one batch on the device."""

    def __call__(self, pairs: Sequence[Pair]) -> torch.Tensor:
        """Log-odds, shape (pairs,), float32."""
        ...


class CausalForward:
    """Right-padded without a mask, the last token's hidden state, a one-row head in float32.

    A causal model never looks right, so padding on the right changes nothing on the left and no
    mask is needed; without one the fast attention kernels apply. softmax over (no, yes) at yes
    equals sigmoid(h . (W_yes - W_no)), so one row replaces the whole vocabulary. The row is formed
    in float32: in bfloat16 the difference of two rows would leave a hundred distinct scores.
    """

    def __init__(self, model: Any, yes: int, no: int) -> None:
        self._base = model.base_model
        head = model.get_output_embeddings().weight
        self._row = head[yes].detach().float() - head[no].detach().float()

    def __call__(self, pairs: Sequence[Pair]) -> torch.Tensor:
        device = self._row.device
        ids, lengths = _right_padded(pairs, 0)
        hidden = self._base(input_ids=ids.to(device), use_cache=False).last_hidden_state
        last = hidden[torch.arange(len(pairs), device=device), lengths.to(device) - 1]
        scores: torch.Tensor = last.float() @ self._row
        return scores


class ClassifierForward:
    """Right-padded with a mask; one logit, or the difference of two."""

    def __init__(self, model: Any, pad: int, types: tuple[int, int] | None) -> None:
        self._model = model
        self._pad = pad
        self._types = types

    def __call__(self, pairs: Sequence[Pair]) -> torch.Tensor:
        device = self._model.device
        ids, lengths = _right_padded(pairs, self._pad)
        positions = torch.arange(ids.shape[1])
        inputs = {"input_ids": ids, "attention_mask": (positions < lengths[:, None]).long()}
        if self._types is not None:
            first, second = self._types
            heads = torch.tensor([len(pair.shared) for pair in pairs])
            inputs["token_type_ids"] = torch.where(positions < heads[:, None], first, second)
        on_device = {name: tensor.to(device) for name, tensor in inputs.items()}
        logits: torch.Tensor = self._model(**on_device).logits.float()
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


def _right_padded(pairs: Sequence[Pair], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, shape (pairs, longest), and lengths, shape (pairs,), on the CPU."""
    lengths = torch.tensor([pair.length for pair in pairs])
    ids = torch.full((len(pairs), int(lengths.max())), pad)
    for row, pair in zip(ids, pairs, strict=True):
        row[: pair.length] = torch.tensor(pair.shared + pair.own)
    return ids, lengths
