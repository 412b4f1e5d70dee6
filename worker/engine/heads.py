"""From a model's last states to log-odds."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from worker.engine.placement import head_rows
from worker.engine.spec import Head


def row_of(model: Any, head: Head) -> Tensor:
    """The head of one row, float32, shape (hidden,): log-odds are state . row.

    softmax over (no, yes) at yes equals sigmoid(h . (W_yes - W_no)), so one row replaces the whole
    vocabulary. It is formed in float32: in bfloat16 the difference of two rows would leave a
    hundred distinct scores.
    """
    tokens = [head.positive] if head.negative is None else [head.positive, head.negative]
    rows = head_rows(model, tokens)
    return rows[0] if len(rows) == 1 else rows[0] - rows[1]


def row_of_classifier(model: Any) -> Tensor:
    """The same of a causal model whose head has one or two labels instead of a vocabulary."""
    weight = model.score.weight.detach().float()
    row: Tensor = weight[0] if len(weight) == 1 else weight[1] - weight[0]
    return row


def logit_of(logits: Tensor) -> Tensor:
    """Log-odds of a classifier's logits, shape (pairs, 1 or 2): the one, or the difference."""
    logits = logits.float()
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
