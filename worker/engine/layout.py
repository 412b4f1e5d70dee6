"""A prompt as data: what stands before and after a document, and where the texts go."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Slot(Enum):
    """Where a caller's text goes."""

    QUERY = "query"
    INSTRUCTION = "instruction"


# Tokenized at once, apart from the pieces beside it. Without a slot it is the template's own, and
# its control tokens are recognised; with one it has none of its own.
Piece = tuple[str | Slot, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """One prompt, cut where the model's reference cuts it, or where its tokenizer does anyway.

    Attributes:
        before: what all documents of a query share.
        lead: the text that is tokenized together with the document, before it.
        trail: the same, behind it.
        after: what follows; it may hold slots, too.
    """

    before: tuple[Piece, ...]
    lead: str
    after: tuple[Piece, ...]
    trail: str = ""

    @property
    def constants(self) -> str:
        """All text of the template's own, to see which tokens it uses."""
        parts = [part for piece in self.before + self.after for part in piece]
        texts = [part for part in parts if isinstance(part, str)]
        return "".join([*texts, self.lead, self.trail])


@dataclass(frozen=True, slots=True)
class Prompt:
    """A model's prompt.

    Attributes:
        bare: without an instruction, or with the model's default one.
        told: with the caller's; None: it takes none.
    """

    name: str
    bare: Layout
    told: Layout | None

    @property
    def constants(self) -> str:
        return self.bare.constants + (self.told.constants if self.told else "")
