"""Which kind of reranker a model directory holds, by its own config."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """How a score is read off the model."""

    CAUSAL_YES_NO = "causal-yes-no"  # the next token is yes or no
    CLASSIFIER = "classifier"  # a head with one logit (relevance) or two (no, yes)


class UnsupportedModel(Exception):
    """This model is no reranker that we can score exactly; the message lists what is."""


SUPPORTED = (
    "Qwen3ForCausalLM (Qwen3-Reranker), and *ForSequenceClassification with one or two labels "
    "(BGE, MiniLM, XLM-R, ModernBERT, gte and their like)"
)


def kind_of(config: Any) -> Kind:
    """Raises: UnsupportedModel."""
    architecture = (getattr(config, "architectures", None) or ["unknown"])[0]
    if architecture == "Qwen3ForCausalLM":
        return Kind.CAUSAL_YES_NO
    if architecture.endswith("ForSequenceClassification"):
        if config.num_labels in (1, 2):
            return Kind.CLASSIFIER
        raise UnsupportedModel(f"{architecture} has {config.num_labels} labels, not one or two")
    raise UnsupportedModel(f"{architecture} is not supported; supported: {SUPPORTED}")
