"""What sentence-transformers saved beside a CrossEncoder's weights, and how it is to be used.

Its files, as of 6.2: `modules.json` (the chain of modules), `sentence_bert_config.json` (the
Transformer: task, message format, limits), `1_LogitScore/config.json` (token ids) and
`config_sentence_transformers.json` (prompts).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.engine.spec import SUPPORTED, Head, UnsupportedModel

# A model's JSON file by its name; None: it has none.
Read = Callable[[str], Any]

# Not for the chat template: they size and lay out a batch.
_SIZES = {"padding", "truncation", "max_length", "return_tensors", "restore_suffix"}
_TASKS = {None, "text-generation", "sequence-classification"}


@dataclass(frozen=True, slots=True)
class Saved:
    """Empty for a model that sentence-transformers did not save.

    Attributes:
        modules: class names, in order.
        message_format: `flat` or `structured`: a pair goes through the chat template as messages
            of this form. None: through the tokenizer as two sequences.
        template_options: variables of the chat template.
        prompt: the default one: the system message of a chat template, or what stands before the
            query where there is none.
        max_length: tokens of a pair.
    """

    modules: tuple[str, ...] = ()
    head: Head | None = None
    message_format: str | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    max_length: int | None = None


def saved_by(read: Read) -> Saved:
    """Raises: UnsupportedModel: the files want what we do not do."""
    modules = read("modules.json")
    if not modules:
        return Saved()
    names = tuple(str(module["type"]).rpartition(".")[2] for module in modules)
    heads = [m["path"] for m, name in zip(modules, names, strict=True) if name == "LogitScore"]
    if modules[0]["path"]:
        raise UnsupportedModel(f"the model lies in {modules[0]['path']!r}, not beside modules.json")
    transformer = read("sentence_bert_config.json") or {}
    if transformer.get("transformer_task") not in _TASKS:
        task = transformer["transformer_task"]
        raise UnsupportedModel(f"the task {task} is not supported; supported: {SUPPORTED}")
    if transformer.get("do_lower_case"):
        raise UnsupportedModel("do_lower_case: put the lower-casing into the tokenizer instead")
    options = transformer.get("processing_kwargs") or {}
    message = (transformer.get("modality_config") or {}).get("message")
    limits = (transformer.get("max_seq_length"), (options.get("text") or {}).get("max_length"))
    return Saved(
        modules=names,
        head=_head(read, heads[0]) if heads else None,
        message_format=message.get("format", "flat") if message is not None else None,
        template_options={
            name: value
            for name, value in (options.get("chat_template") or {}).items()
            if name not in _SIZES
        },
        prompt=_default_prompt(read("config_sentence_transformers.json") or {}),
        max_length=min((limit for limit in limits if limit), default=None),
    )


def _head(read: Read, folder: str) -> Head:
    if not re.fullmatch(r"\w[\w.-]*", folder):
        raise UnsupportedModel(f"modules.json: {folder!r} is no folder of the model's own")
    config = read(f"{folder}/config.json")
    if not config or config.get("true_token_id") is None:
        raise UnsupportedModel(f"{folder}/config.json has no true_token_id")
    return Head(config["true_token_id"], config.get("false_token_id"))


def _default_prompt(config: Mapping[str, Any]) -> str:
    name = config.get("default_prompt_name")
    return ((config.get("prompts") or {}).get(name) or "") if name else ""
