"""From a loaded model to what its engine needs: template, head, limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from rerankq.settings import Settings
from worker.engine.chat import Render, prompt_of
from worker.engine.layout import Prompt
from worker.engine.plain import plain
from worker.engine.registry import REGISTRY
from worker.engine.saved import Saved
from worker.engine.spec import Head, Kind, UnsupportedModel
from worker.engine.templates import Template, ids_of
from worker.engine.templates_pair import SequencePairTemplate
from worker.engine.templates_prompt import PromptTemplate

if TYPE_CHECKING:
    from worker.engine.loading import Loaded

# Their positions are counted from padding_idx + 1, so that many of them carry no token.
_SHIFTED_POSITIONS = {"camembert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"}


@dataclass(frozen=True, slots=True)
class Parts:
    """What scoring with a model takes beside its weights.

    Attributes:
        head: of a causal model; None: a classifier.
        pad: id that fills a row up.
        types: type ids of a pair's two sides; None: the model takes none.
        max_length: tokens of a pair.
        score_space: what the score is the log-odds of.
    """

    template: Template
    head: Head | None
    pad: int
    types: tuple[int, int] | None
    max_length: int
    score_space: str


def parts_of(loaded: Loaded, settings: Settings) -> Parts:
    """Raises: UnsupportedModel: the tokenizer or the chat template cannot be served exactly."""
    tokenizer = _backend(loaded.tokenizer)
    head = _head(loaded, tokenizer) if loaded.kind is Kind.CAUSAL_YES_NO else None
    template, types = _template(loaded, tokenizer, settings.control_tokens == "text")
    return Parts(
        template,
        head,
        pad=loaded.config.pad_token_id or 0,
        types=types,
        max_length=_max_length(loaded, settings.max_length),
        score_space=_score_space(head, tokenizer),
    )


def _backend(wrapper: Any) -> Tokenizer:
    # The Rust tokenizer itself: transformers' wrapper sets truncation and padding on every call,
    # which two threads must not do at once.
    tokenizer: Tokenizer | None = getattr(wrapper, "backend_tokenizer", None)
    # Without files transformers makes an empty one.
    if tokenizer is None or tokenizer.get_vocab_size() <= 1:
        raise UnsupportedModel("the model has no tokenizer.json; convert its tokenizer first")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _template(
    loaded: Loaded, tokenizer: Tokenizer, as_text: bool
) -> tuple[Template, tuple[int, int] | None]:
    prompt = _prompt(loaded, tokenizer)
    constants = prompt.constants if prompt else loaded.saved.prompt
    texts = plain(tokenizer, constants) if as_text else tokenizer
    if prompt is not None:
        return PromptTemplate(prompt, tokenizer, texts), None
    pair = SequencePairTemplate(tokenizer, texts, loaded.saved.prompt)
    typed = "token_type_ids" in loaded.tokenizer.model_input_names
    return pair, pair.types if typed else None


def _prompt(loaded: Loaded, tokenizer: Tokenizer) -> Prompt | None:
    """None: a pair of sequences."""
    if loaded.saved.message_format is not None:
        return prompt_of("chat", _render(loaded.tokenizer, loaded.saved), tokenizer)
    known = None if loaded.saved.modules else REGISTRY.get(loaded.config.architectures[0])
    return known.prompt if known else None


def _render(tokenizer: Any, saved: Saved) -> Render:
    if not isinstance(tokenizer.chat_template, str):
        raise UnsupportedModel("the model wants messages, and has no chat template for them")

    def content(text: str) -> Any:
        return text if saved.message_format == "flat" else [{"type": "text", "text": text}]

    def render(instruction: str | None, query: str, document: str) -> str:
        system = saved.prompt if instruction is None else instruction
        said = [("system", system)] if system else []
        said += [("query", query), ("document", document)]
        messages = [{"role": role, "content": content(text)} for role, text in said]
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, **saved.template_options
        )
        return text

    return render


def _head(loaded: Loaded, tokenizer: Tokenizer) -> Head:
    output = loaded.model.get_output_embeddings()
    capped = getattr(loaded.config, "final_logit_softcapping", None)
    if getattr(output, "bias", None) is not None or capped:
        raise UnsupportedModel("the model's logits are more than hidden states times rows")
    if loaded.saved.head is not None:
        return loaded.saved.head
    known = REGISTRY[loaded.config.architectures[0]]
    words = [word for word in (known.positive, known.negative) if word is not None]
    ids = [ids_of(tokenizer, word) for word in words]
    if any(len(word) != 1 for word in ids) or len({word[0] for word in ids}) != len(ids):
        raise UnsupportedModel(f"the tokenizer has no single tokens for {' and '.join(words)}")
    return Head(ids[0][0], ids[1][0] if len(ids) == 2 else None)


def _score_space(head: Head | None, tokenizer: Tokenizer) -> str:
    if head is None:
        return "log-odds of relevant"
    positive = tokenizer.decode([head.positive], skip_special_tokens=False)
    if head.negative is None:
        return f"logit of {positive}, taken as log-odds"
    negative = tokenizer.decode([head.negative], skip_special_tokens=False)
    return f"log-odds of {positive} over {negative}"


def first_position(config: Any) -> int:
    """What the model calls a sequence's first position: RoBERTa counts from behind its padding."""
    return int(config.pad_token_id) + 1 if config.model_type in _SHIFTED_POSITIONS else 0


def _max_length(loaded: Loaded, wanted: int) -> int:
    """The least of what is wanted, what the tokenizer was saved with and what has a position."""
    positions = getattr(loaded.config, "max_position_embeddings", None) or wanted
    positions -= first_position(loaded.config)
    rope = getattr(loaded.config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        # Beyond these its frequencies depend on the longest sequence of a whole batch.
        positions = rope.get("original_max_position_embeddings") or positions
    own = (loaded.tokenizer.model_max_length, loaded.saved.max_length)
    return int(min(wanted, positions, *(limit for limit in own if limit)))
