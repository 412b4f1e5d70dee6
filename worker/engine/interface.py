"""What the rest of the worker knows of a model: pairs go in, log-odds come out. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rerankq.schema import Problem


class Layout(StrEnum):
    """How a batch lies on the device, which is what its cost follows."""

    PADDED = "padded"  # rows x longest pair
    PACKED = "packed"  # all tokens, a shared prefix once


class Unscorable(Exception):
    """This input can never be scored by this model; trying again is useless.

    Attributes:
        problem: what the caller is told.
    """

    def __init__(self, code: str, detail: str, field: str, limit: int | None = None) -> None:
        super().__init__(detail)
        self.problem = Problem(
            title="Unprocessable Entity",
            status=422,
            code=code,
            detail=detail,
            field=field,
            limit=limit,
        )


class PairFailed(Exception):
    """This pair failed alone; the exception it failed with is the cause.

    Attributes:
        problem: what the caller is told.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(title="Internal Server Error", status=500, code=code, detail=detail)


class OutOfMemory(Exception):
    """The batch does not fit the device; a smaller one may."""


class EngineBroken(Exception):
    """The device will score nothing any more in this process; only a fresh one can."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One query with one document, as token ids.

    Attributes:
        shared: everything before the document; the same object for all documents of one query
            and instruction, also across jobs, so that identity tells which pairs share a prefix.
        own: the document and what follows it.
        truncated: the document was cut to fit `Profile.max_length`.
    """

    shared: tuple[int, ...]
    own: tuple[int, ...]
    truncated: bool = False

    @property
    def length(self) -> int:
        """Tokens of the whole sequence."""
        return len(self.shared) + len(self.own)


@dataclass(frozen=True, slots=True)
class Profile:
    """What a loaded model is and can do.

    Attributes:
        score_space: what the score is the log-odds of.
        instruction: whether it takes one; otherwise one is refused.
        max_length: tokens of a pair, all included.
        token_budget: tokens of one batch, counted as the layout costs them.
        engine: in words, which forward pass was chosen and why.
    """

    model: str
    revision: str
    template: str
    score_space: str
    instruction: bool
    max_length: int
    dtype: str
    device: str
    layout: Layout
    token_budget: int
    engine: str


@dataclass(frozen=True, slots=True)
class Launch:
    """A batch that is ready for the device.

    Exact: a pair's score does not depend on what else is in the batch, beyond the rounding of the
    arithmetic (1e-5 in probability in float32).

    Attributes:
        start: gives it to the device; what that returns waits for the log-odds of relevance, in
            order. Both are called from one thread only, which owns the device, and both raise
            EngineBroken, after which no batch will succeed, or OutOfMemory or an exception of any
            other kind, after which a smaller one may.
        works_by_itself: `start` returns before the device has ended, so that a further batch may be
            started meanwhile; otherwise the wait is the work.
        until_room: once it is the first that is started, waits until a part of the device has
            nothing left to do, so that a further batch may be started there; None: it never has
            such parts.
    """

    start: Callable[[], Callable[[], list[float]]]
    works_by_itself: bool = False
    until_room: Callable[[], None] | None = None

    def __call__(self) -> list[float]:
        """Start it and wait."""
        return self.start()()


class Engine(Protocol):
    """A loaded model."""

    @property
    def profile(self) -> Profile: ...

    def encode(
        self,
        query: str,
        instruction: str | None,
        documents: Sequence[str],
        document_tokens: int | None = None,
    ) -> list[Pair]:
        """Tokenize. Called from several threads at once, never from the device's.

        Args:
            document_tokens: cut each document to as many at most; None: as many as fit.

        Raises:
            Unscorable: the query leaves no room for a document, or no instruction is taken.
        """
        ...

    def prepare(self, pairs: Sequence[Pair]) -> Launch:
        """Lay a batch out for the device.

        Called one batch ahead and not on the device's thread, unless the batch has changed since.
        """
        ...

    def memory(self) -> dict[str, int]:
        """Device memory in bytes by kind (allocated, reserved, total); empty on the CPU."""
        ...
