"""Which kind of reranker a model directory holds, by its own config and what was saved with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from worker.engine.registry import REGISTRY, SEQUENCE_PAIRS

if TYPE_CHECKING:
    from worker.engine.saved import Saved


class Kind(StrEnum):
    """How a score is read off the model."""

    CAUSAL_YES_NO = "causal-yes-no"  # the next token is yes or no, or what the model has for them
    CLASSIFIER = "classifier"  # a head with one logit (relevance) or two (no, yes)


class UnsupportedModel(Exception):
    """This model is no reranker that we can score exactly; the message lists what is."""


@dataclass(frozen=True, slots=True)
class Head:
    """The tokens a causal model answers with: log-odds = logit(positive) - logit(negative).

    Attributes:
        negative: None where the positive logit itself is the log-odds (bge-reranker-v2-gemma).
    """

    positive: int
    negative: int | None


SUPPORTED = (
    "Qwen3ForCausalLM (Qwen3-Reranker), Qwen2ForCausalLM (mxbai-rerank-v2), GemmaForCausalLM "
    "(bge-reranker-v2-gemma), these and Llama and Mistral as sentence-transformers saves a "
    "CrossEncoder with a LogitScore, Qwen3ForSequenceClassification (Qwen3-Reranker converted), "
    "and with one or two labels *ForSequenceClassification of "
    f"{', '.join(sorted(SEQUENCE_PAIRS))} (BGE, MiniLM, ModernBERT, Electra, DeBERTa and their "
    "like) or of a model that brings code of its own (gte, jina; RERANKQ_TRUST_REMOTE_CODE)"
)

# Their logits are the last hidden state times one row a token: no bias, no cap, no scale.
_CAUSAL = {
    "Qwen3ForCausalLM",
    "Qwen2ForCausalLM",
    "GemmaForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
}
_CHAINS = {("Transformer",), ("Transformer", "LogitScore")}


def kind_of(config: Any, saved: Saved, trusted: bool) -> Kind:
    """Raises: UnsupportedModel."""
    architecture = str((getattr(config, "architectures", None) or ["unknown"])[0])
    if saved.modules and saved.modules not in _CHAINS:
        chain = " + ".join(saved.modules)
        raise UnsupportedModel(f"the modules {chain} are not supported; supported: {SUPPORTED}")
    if architecture.endswith("ForSequenceClassification") and saved.head is None:
        _check_classifier(architecture, config, saved, trusted)
        return Kind.CLASSIFIER
    if architecture in _CAUSAL and _has_head(architecture, saved):
        return Kind.CAUSAL_YES_NO
    raise UnsupportedModel(f"{architecture} is not supported; supported: {SUPPORTED}")


def _has_head(architecture: str, saved: Saved) -> bool:
    return saved.head is not None if saved.modules else architecture in REGISTRY


def _check_classifier(architecture: str, config: Any, saved: Saved, trusted: bool) -> None:
    if config.num_labels not in (1, 2):
        raise UnsupportedModel(f"{architecture} has {config.num_labels} labels, not one or two")
    remote = "AutoModelForSequenceClassification" in (getattr(config, "auto_map", None) or {})
    if remote and not trusted:
        # transformers would load the class of its own that bears the same name, if it has one,
        # and leave what does not fit at random.
        raise UnsupportedModel(
            f"{architecture} brings code of its own; RERANKQ_TRUST_REMOTE_CODE=true lets it run"
        )
    if remote or config.model_type in SEQUENCE_PAIRS:
        return
    # A decoder's pair has no layout of its own: what it was trained with has to be known.
    known = saved.message_format is not None if saved.modules else architecture in REGISTRY
    if not known:
        raise UnsupportedModel(
            f"{architecture}: how it lays out a pair is not known; supported: {SUPPORTED}"
        )
    if config.pad_token_id is None:
        raise UnsupportedModel(f"{architecture} without a pad_token_id cannot score a batch")
