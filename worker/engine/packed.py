"""The packed forward passes: all tokens of a batch in one row, nothing computed twice.

The model's own code runs unchanged. Its attention is `attention.attend`, its last layer may be
trimmed, and what it reads its classification off is one token of each pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from worker.engine.attention import Attention
from worker.engine.batch import Batch
from worker.engine.heads import logit_of
from worker.engine.interface import Layout, Pair
from worker.engine.kernels import Kernels
from worker.engine.packing import Row, pack_causal, pack_whole, varlen_of
from worker.engine.parts import first_position

# Their attention goes through transformers' interface, and has nothing in it that `attend` does not
# know. Others are padded.
CAUSAL = frozenset({"gemma", "llama", "qwen2", "qwen3"})
ENCODERS = frozenset({"bert", "camembert", "electra", "modernbert", "roberta", "xlm-roberta"})


class PackedCausal:
    """Shared prefixes once, the last token of each pair, a one-row head in float32."""

    layout = Layout.PACKED

    def __init__(self, model: Any, row: Tensor, kernels: Kernels, *, on_gpu: bool) -> None:
        self._base = model.base_model
        self._row = row
        self._kernels = kernels
        self._on_gpu = on_gpu
        _read_scored(self._base)

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        return _batch(pack_causal(pairs), self._on_gpu)

    def __call__(self, batch: Batch) -> Tensor:
        packed = _attention(batch, self._kernels, causal=True)
        states = self._base(**batch.tensors, use_cache=False, packed=packed).last_hidden_state
        scores: Tensor = states[:, 0].float() @ self._row
        return scores


class PackedClassifier:
    """Pairs one after the other, the model's own head on the first token of each."""

    layout = Layout.PACKED

    def __init__(
        self, model: Any, types: tuple[int, int] | None, kernels: Kernels, *, on_gpu: bool
    ) -> None:
        self._model = model
        self._types = types
        self._kernels = kernels
        self._on_gpu = on_gpu
        self._first_position = first_position(model.config)
        _read_scored(model.base_model)

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        row = pack_whole(pairs, self._first_position)
        batch = _batch(row, self._on_gpu)
        if self._types is not None:
            types = torch.full_like(row.ids, self._types[1])
            for start, stop in row.heads:
                types[0, start:stop] = self._types[0]
            batch.tensors["token_type_ids"] = types
        return batch

    def __call__(self, batch: Batch) -> Tensor:
        packed = _attention(batch, self._kernels, causal=False)
        return logit_of(self._model(**batch.tensors, packed=packed).logits)


def can_pack(config: Any) -> bool:
    """Whether this model's attention is known to be nothing but what `attend` does."""
    if config.model_type in CAUSAL:
        return "sliding_attention" not in (getattr(config, "layer_types", None) or ())
    if config.model_type not in ENCODERS or getattr(config, "is_decoder", False):
        return False
    absolute = getattr(config, "position_embedding_type", "absolute") == "absolute"
    return absolute and getattr(config, "classifier_pooling", "cls") == "cls"


def _batch(row: Row, on_gpu: bool) -> Batch:
    packing = replace(row.packing, varlen=varlen_of(row.packing)) if on_gpu else row.packing
    return Batch({"input_ids": row.ids, "position_ids": row.positions}, packing)


def _attention(batch: Batch, kernels: Kernels, *, causal: bool) -> Attention:
    if batch.packing is None:
        raise ValueError("this batch was laid out by another pass")
    return Attention(batch.packing, causal, kernels)


def _read_scored(base: Any) -> None:
    """Let a packed call of this model give the scored tokens alone, shape (pairs, 1, hidden).

    That is the shape of a batch of sequences of one token, so heads that read a sequence's first
    token need not know.
    """

    def hook(module: Any, _: Any, options: dict[str, Any], output: Any) -> Any:
        packed: Attention | None = options.get("packed")
        if packed is None:
            return output
        states, rows = output.last_hidden_state, packed.packing.rows
        if states.shape[1] != len(rows):  # the last layer was not trimmed
            states = states[:, rows]
        output.last_hidden_state = states.transpose(0, 1)
        if getattr(module, "pooler", None) is not None:
            output.pooler_output = module.pooler(output.last_hidden_state)
        return output

    base.register_forward_hook(hook, with_kwargs=True)
