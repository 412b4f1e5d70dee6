"""What a model is made of beside its weights: template, head, limits."""

from __future__ import annotations

from dataclasses import dataclass

from rerankq.settings import Settings
from worker.engine.loading import Loaded
from worker.engine.spec import Kind, UnsupportedModel
from worker.engine.templates import Limits, Qwen3Template, SequencePairTemplate, Template


@dataclass(frozen=True, slots=True)
class Head:
    positive: int
    negative: int | None


@dataclass(frozen=True, slots=True)
class Parts:
    template: Template
    head: Head | None
    pad: int
    types: tuple[int, int] | None
    limits: Limits
    score_space: str


def parts_of(loaded: Loaded, settings: Settings) -> Parts:
    tokenizer = getattr(loaded.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise UnsupportedModel("the model has no tokenizer.json; convert its tokenizer first")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    limits = Limits(_max_length(loaded, settings.max_length), settings.max_query_tokens)
    if loaded.kind is Kind.CAUSAL_YES_NO:
        yes, no = (loaded.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
        if yes is None or no is None or yes == no:
            raise UnsupportedModel("the tokenizer has no single tokens for yes and no")
        return Parts(
            Qwen3Template(tokenizer), Head(yes, no), 0, None, limits, "log-odds of yes over no"
        )
    template = SequencePairTemplate(tokenizer)
    types = template.types if "token_type_ids" in loaded.tokenizer.model_input_names else None
    return Parts(
        template, None, loaded.config.pad_token_id or 0, types, limits, "log-odds of relevant"
    )


def _max_length(loaded: Loaded, wanted: int) -> int:
    positions = getattr(loaded.config, "max_position_embeddings", None) or wanted
    # RoBERTa counts positions from padding_idx + 1, so that many of them carry no token.
    if loaded.config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        positions -= loaded.config.pad_token_id + 1
    return int(min(wanted, positions))
