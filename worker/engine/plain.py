"""A tokenizer for callers' texts: no text of theirs can become a control token.

Control tokens are what a tokenizer recognises beside its vocabulary: all special ones, those that
were added to the vocabulary later (`</think>` of Qwen3, which is not special), and those that the
template uses. The others, such as a run of blanks or a tag that the model was trained on as one
token from the start, are how text is tokenized, and stay.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from tokenizers import Tokenizer

from worker.engine.spec import UnsupportedModel


def control_tokens(tokenizer: Tokenizer, template: str) -> dict[str, int]:
    """Content and id of each control token.

    Args:
        template: the text of the template's own.
    """
    state = json.loads(tokenizer.to_str())
    return {token["content"]: token["id"] for token in _control(state, template)}


def plain(tokenizer: Tokenizer, template: str) -> Tokenizer:
    """The same tokenizer without its control tokens: it gives the same ids for texts without them.

    Taking them from the added vocabulary is not enough: a Unigram model has `</s>` among its
    pieces, too, and would find it in a text. So there they get a name that nobody can write.

    Raises:
        UnsupportedModel: that cannot be done with this tokenizer.
    """
    state = json.loads(tokenizer.to_str())
    control = {token["content"] for token in _control(state, template)}
    kept = [token for token in state["added_tokens"] if token["content"] not in control]
    _rename(state["model"], control)
    for token in kept:
        _keep(state["model"], token)
    result = Tokenizer.from_str(json.dumps(state | {"added_tokens": kept}))
    _check(result, control, {token["content"]: token["id"] for token in kept}, tokenizer)
    return result


def _control(state: Any, template: str) -> list[Any]:
    own = _names(state["model"])
    return [
        token
        for token in state["added_tokens"]
        if token["special"]
        or (token["content"] not in own and not _blank(token["content"]))
        or (not _blank(token["content"]) and token["content"] in template)
    ]


def _blank(content: str) -> bool:
    return not content.strip("▁ \t\r\n")


def _names(model: Any) -> set[str]:
    vocabulary = model["vocab"]
    return set(vocabulary) if isinstance(vocabulary, dict) else {piece for piece, _ in vocabulary}


def _rename(model: Any, control: set[str]) -> None:
    # The token for what is unknown is found by its name; a text cannot lack a token on purpose and
    # gain by it.
    gone = control - {model.get("unk_token")}
    names = {content: secrets.token_hex(16) for content in gone}
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(name, name): i for name, i in model["vocab"].items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _makes(merge, control)]


def _makes(merge: Any, control: set[str]) -> bool:
    left, right = merge if isinstance(merge, list) else merge.split(" ")
    return left in control or right in control or left + right in control


def _keep(model: Any, token: Any) -> None:
    # Loading numbers an added token that the vocabulary lacks by its place among them.
    if isinstance(model["vocab"], dict):
        model["vocab"].setdefault(token["content"], token["id"])


def _check(result: Tokenizer, control: set[str], kept: dict[str, int], original: Tokenizer) -> None:
    forbidden = {original.token_to_id(content) for content in control}
    forbidden.discard(original.token_to_id(getattr(original.model, "unk_token", None) or ""))
    for content in control:
        for text in (content, f"a {content} b", f"a{content}b"):
            if not forbidden.isdisjoint(result.encode(text, add_special_tokens=False).ids):
                raise UnsupportedModel(_REASON.format(content))
    for content, number in kept.items():
        if result.token_to_id(content) != number:
            raise UnsupportedModel(_REASON.format(content))


_REASON = (
    "the tokenizer cannot be told to take {0!r} as plain text; with "
    "RERANKQ_CONTROL_TOKENS=reference the model can be served all the same"
)
