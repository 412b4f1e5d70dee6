"""The padded forward passes: the plain way, exact for every model, and what others are held to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from worker.engine.batch import Batch
from worker.engine.heads import logit_of, row_of
from worker.engine.interface import Layout, Pair
from worker.engine.spec import Head


class PaddedCausal:
    """Right-padded without a mask, the last token's hidden state, a one-row head in float32.

    A causal model never looks right, so padding on the right changes nothing on the left and no
    mask is needed; without one the fast attention kernels apply.
    """

    layout = Layout.PADDED

    def __init__(self, model: Any, head: Head) -> None:
        self._base = model.base_model
        self._row = row_of(model, head)

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        ids, lengths = _right_padded(pairs, 0)
        return Batch({"input_ids": torch.from_numpy(ids), "last": torch.from_numpy(lengths - 1)})

    def __call__(self, batch: Batch) -> torch.Tensor:
        ids, last = batch.tensors["input_ids"], batch.tensors["last"]
        hidden = self._base(input_ids=ids, use_cache=False).last_hidden_state
        rows = torch.arange(len(last), device=last.device)
        scores: torch.Tensor = hidden[rows, last].float() @ self._row
        return scores


class PaddedClassifier:
    """Right-padded with a mask."""

    layout = Layout.PADDED

    def __init__(self, model: Any, pad: int, types: tuple[int, int] | None) -> None:
        self._model = model
        self._pad = pad
        self._types = types

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        ids, lengths = _right_padded(pairs, self._pad)
        positions = np.arange(ids.shape[1])
        mask = (positions < lengths[:, None]).astype(np.int64)
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if self._types is not None:
            heads = np.array([len(pair.shared) for pair in pairs])
            types = np.where(positions < heads[:, None], *self._types)
            inputs["token_type_ids"] = torch.from_numpy(types)
        return Batch(inputs)

    def __call__(self, batch: Batch) -> torch.Tensor:
        return logit_of(self._model(**batch.tensors).logits)


def _right_padded(pairs: Sequence[Pair], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids, shape (pairs, longest), and lengths, shape (pairs,), int64."""
    lengths = np.array([pair.length for pair in pairs])
    ids = np.full((len(pairs), int(lengths.max())), pad)
    for row, pair in zip(ids, pairs, strict=True):
        head = len(pair.shared)
        row[:head] = pair.shared
        row[head : pair.length] = pair.own
    return ids, lengths
