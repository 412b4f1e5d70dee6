"""From a chat template to a prompt with slots.

The template is rendered once with marks for the texts and cut at them. A document's own part must
begin and end where the tokenizer splits whatever the document is; where that is, depends on its
pre-tokenizer, so each place is tried on texts that are made to join with their neighbours, and a
template for which none holds is refused. Trying is no proof: it holds for pre-tokenizers that look
at a few characters around the cut, as all in use do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from tokenizers import Tokenizer

from worker.engine.layout import Layout, Piece, Prompt, Slot
from worker.engine.plain import control_tokens
from worker.engine.spec import UnsupportedModel
from worker.engine.templates import Limits, ids_of
from worker.engine.templates_prompt import PromptTemplate

# Instruction (None: none is given), query, document: the text the model reads.
Render = Callable[[str | None, str, str], str]

_MARKS = {Slot.QUERY: "rerankq7Q1query", Slot.INSTRUCTION: "rerankq7I2instruction"}
_DOCUMENT = "rerankq7D3document"
_WIDE = Limits(pair=10**6, query=0)
_QUERIES = ["q", "what is it?", " a\tb \n", "東京 12.\n\n"]
_INSTRUCTIONS = ["find it", " Find.\n"]
_DOCUMENTS = [
    *("", " ", "  ", "\n", "\n\n", "\r\n", "\t", "x", "X y", "two words", " x", "  x", "\nx"),
    *("\n\n x", "x ", "x  ", "x\n", "x\n\n", "x \n", "x.\n", "x.\n\n", ".", "...", "?!", "-", "_"),
    *("'s", "'S x", "'", '"', "<", ">", ":", "/", "|", "#", "1", "12 3", "3.14", "x1", "1x", "é"),
    *("e\u0301", "\u0301x", "x\u0301", "東京", "。x", "x。", "🙂", "\u200dx", "\u00a0x", "x\u3000"),
    *("▁x", "x▁", "</", "[x]", "Document", "document: x"),
]


def prompt_of(name: str, render: Render, tokenizer: Tokenizer) -> Prompt:
    """The prompt that renders what `render` does; it takes an instruction if the template does.

    Raises:
        UnsupportedModel: it cannot be tokenized by part.
    """
    control = _control_used(render, tokenizer)
    bare = _settled(_layout(render(None, *_marked()), control), render, tokenizer, [None])
    with_instruction = render(_MARKS[Slot.INSTRUCTION], *_marked())
    if _MARKS[Slot.INSTRUCTION] not in with_instruction:
        return Prompt(name, bare, None)
    told = _settled(_layout(with_instruction, control), render, tokenizer, _INSTRUCTIONS)
    return Prompt(name, bare, told)


def _marked() -> tuple[str, str]:
    return _MARKS[Slot.QUERY], _DOCUMENT


def _control_used(render: Render, tokenizer: Tokenizer) -> list[str]:
    text = render(None, *_marked()) + render(_MARKS[Slot.INSTRUCTION], *_marked())
    used = (content for content in control_tokens(tokenizer, text) if content in text)
    return sorted(used, key=len, reverse=True)


def _layout(text: str, control: list[str]) -> Layout:
    """Cut at the control tokens and at the document; lead and trail as long as they can be."""
    if text.count(_DOCUMENT) != 1 or _MARKS[Slot.QUERY] not in text:
        raise UnsupportedModel(
            "the chat template does not render one message of the role query and one of the role "
            "document, each as it is"
        )
    before, after = (_pieces(half, control) for half in text.split(_DOCUMENT))
    lead, trail = _popped(before, -1, control), _popped(after, 0, control)
    return Layout(tuple(before), lead, tuple(after), trail)


def _popped(pieces: list[Piece], end: int, control: list[str]) -> str:
    """The text at the end that meets the document, taken off; what is left of its piece stays."""
    if not pieces or pieces[end][0] in control:
        return ""
    parts = list(pieces[end])
    text = parts.pop(end)
    if isinstance(text, Slot):
        return ""
    place = slice(0, 1) if end == 0 else slice(-1, None)
    pieces[place] = [tuple(parts)] if parts else []
    return text


def _pieces(text: str, control: list[str]) -> list[Piece]:
    """Runs between control tokens, and the control tokens, each a piece of its own."""
    if not control:
        return [_slotted(text)] if text else []
    pattern = "(" + "|".join(map(re.escape, control)) + ")"
    return [_slotted(run) for run in re.split(pattern, text) if run]


def _slotted(run: str) -> Piece:
    slots = {mark: slot for slot, mark in _MARKS.items()}
    parts = re.split("(" + "|".join(slots) + ")", run)
    return tuple(slots.get(part, part) for part in parts if part)


def _settled(
    longest: Layout, render: Render, tokenizer: Tokenizer, instructions: Iterable[str | None]
) -> Layout:
    """The layout whose lead, then whose trail, is as short as it can exactly be."""
    wanted = {
        case: ids_of(tokenizer, render(*case))
        for case in itertools.product(instructions, _QUERIES, _DOCUMENTS)
    }
    leads = (longest.lead[i:] for i in range(len(longest.lead), -1, -1))
    trails = [longest.trail[:i] for i in range(len(longest.trail) + 1)]
    for lead, trail in itertools.product(leads, trails):
        layout = _trailed(_led(longest, lead), trail)
        template = PromptTemplate(Prompt("", layout, layout), tokenizer, tokenizer)
        if all(_ids(template, case) == ids for case, ids in wanted.items()):
            return layout
    raise UnsupportedModel(
        "the chat template cannot be tokenized by part: the tokenizer does not split around every "
        "document, or the template changes the texts it is given"
    )


def _led(layout: Layout, lead: str) -> Layout:
    given = layout.lead.removesuffix(lead)
    return replace(layout, lead=lead, before=_joined(layout.before, given))


def _joined(before: tuple[Piece, ...], text: str) -> tuple[Piece, ...]:
    # Behind a text of the caller's it belongs to the same run; else it follows a control token.
    if text and before and any(isinstance(part, Slot) for part in before[-1]):
        return (*before[:-1], (*before[-1], text))
    return (*before, (text,)) if text else before


def _trailed(layout: Layout, trail: str) -> Layout:
    given = layout.trail.removeprefix(trail)
    after = layout.after
    if given and after and any(isinstance(part, Slot) for part in after[0]):
        after = ((given, *after[0]), *after[1:])
    elif given:
        after = ((given,), *after)
    return replace(layout, trail=trail, after=after)


def _ids(template: PromptTemplate, case: tuple[str | None, str, str]) -> list[int]:
    instruction, query, document = case
    (pair,) = template.encode(query, instruction, [document], _WIDE)
    return [*pair.shared, *pair.own]
