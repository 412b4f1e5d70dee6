"""The exact padded forward passes: one for causal yes/no models, one for classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from worker.engine.interface import Pair
from worker.engine.spec import Head

Inputs = dict[str, torch.Tensor]


class Forward(Protocol):
    """Lays batches out on the CPU and scores them on the device."""

    def collate(self, pairs: Sequence[Pair]) -> Inputs: ...

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        """Log-odds, shape (pairs,), float32, of collated inputs that are on the device."""
        ...


class CausalForward:
    """Right-padded without a mask, the last token's hidden state, a one-row head in float32.

    A causal model never looks right, so padding on the right changes nothing on the left and no
    mask is needed; without one the fast attention kernels apply. softmax over (no, yes) at yes
    equals sigmoid(h . (W_yes - W_no)), so one row replaces the whole vocabulary. The row is formed
    in float32: in bfloat16 the difference of two rows would leave a hundred distinct scores.
    """

    def __init__(self, model: Any, head: Head) -> None:
        self._base = model.base_model
        rows = model.get_output_embeddings().weight.detach()
        self._row = rows[head.positive].float()
        if head.negative is not None:
            self._row = self._row - rows[head.negative].float()

    def collate(self, pairs: Sequence[Pair]) -> Inputs:
        ids, lengths = _right_padded(pairs, 0)
        return {"input_ids": torch.from_numpy(ids), "last": torch.from_numpy(lengths - 1)}

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        ids, last = inputs["input_ids"], inputs["last"]
        hidden = self._base(input_ids=ids, use_cache=False).last_hidden_state
        rows = torch.arange(len(last), device=last.device)
        scores: torch.Tensor = hidden[rows, last].float() @ self._row
        return scores


class ClassifierForward:
    """Right-padded with a mask; one logit, or the difference of two."""

    def __init__(self, model: Any, pad: int, types: tuple[int, int] | None) -> None:
        self._model = model
        self._pad = pad
        self._types = types

    def collate(self, pairs: Sequence[Pair]) -> Inputs:
        ids, lengths = _right_padded(pairs, self._pad)
        positions = np.arange(ids.shape[1])
        mask = (positions < lengths[:, None]).astype(np.int64)
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if self._types is not None:
            heads = np.array([len(pair.shared) for pair in pairs])
            types = np.where(positions < heads[:, None], *self._types)
            inputs["token_type_ids"] = torch.from_numpy(types)
        return inputs

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        logits: torch.Tensor = self._model(**inputs).logits.float()
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


def _right_padded(pairs: Sequence[Pair], pad: int) -> tuple[Any, Any]:
    """Ids, shape (pairs, longest), and lengths, shape (pairs,), int64."""
    lengths = np.array([pair.length for pair in pairs])
    ids = np.full((len(pairs), int(lengths.max())), pad)
    for row, pair in zip(ids, pairs, strict=True):
        head = len(pair.shared)
        row[:head] = pair.shared
        row[head : pair.length] = pair.own
    return ids, lengths
