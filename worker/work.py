"""A unit of work on its way through this worker, and a batch cut across many of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rerankq.status import Lane
from worker.engine.interface import Pair

if TYPE_CHECKING:
    from worker.traces import Traced


class Draining(Exception):
    """This worker is going away; the work has to be done by another."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What there is to say of one document.

    Attributes:
        tokens: of the whole pair.
        truncated: the document was cut to fit.
    """

    log_odds: float
    tokens: int
    truncated: bool


@dataclass(eq=False, slots=True)
class Work:
    """The documents of one shard or one public task, scored together or apart.

    Attributes:
        entry: the ledger entry; empty for a public task.
        job: what several works of one job share; batches count jobs by it.
        pairs: those that are to be scored, in document order.
        order: lower is scored first within its lane, in ms.
        done: called once when the last pair is scored or the work has failed; it must not block.
            By the device's thread, unless the worker drains or no pair is to be scored at all:
            then by whoever drains or submits.
        one_batch: of its job no more than one batch may be on a CPU, since all of that is scored
            although the job may be cancelled meanwhile.
        known: answers to the documents that need no scoring, by their place.
        keys: of the pairs in the score cache; empty without one.
        first: index of the first document within its job.
        waited_s: how long it was in the queue before this worker had it.
        marked: monotonic time when the ledger was told ahead that it goes on the device, until
            its first batch; 0: it has to be told.
        gone: cancelled, expired or given away; what is left of it is not scored.
        traced: its span, where there are traces.
    """

    entry: str
    job: str
    pairs: Sequence[Pair]
    order: float
    done: Callable[[Work], None]
    lane: Lane = Lane.INTERACTIVE
    one_batch: bool = True
    waited_s: float = 0.0
    known: Mapping[int, Answer] = field(default_factory=dict)
    keys: Sequence[bytes] = ()
    first: int = 0
    log_fields: dict[str, Any] = field(default_factory=dict)
    received: float = field(default_factory=time.monotonic)
    places: Sequence[int] = field(init=False)  # of the pairs among the documents
    scores: list[float] = field(init=False)  # in document order
    left: int = field(init=False)
    launched: bool = False
    marked: float = 0.0
    gone: bool = False
    traced: Traced | None = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.left = len(self.pairs)
        documents = range(self.left + len(self.known))
        self.places = [place for place in documents if place not in self.known]
        self.scores = [0.0] * len(documents)
        for place, answer in self.known.items():
            self.scores[place] = answer.log_odds

    def put(self, index: int, score: float) -> None:
        self.scores[self.places[index]] = score
        self.left -= 1
        if self.left == 0 and self.error is None:
            self.done(self)

    def fail(self, error: Exception) -> None:
        """End it, once; scores that still come in are ignored."""
        if self.error is None and self.left > 0:
            self.error = error
            self.gone = True
            self.done(self)

    @property
    def tokens(self) -> int:
        """Of all its documents' pairs, known ones too."""
        known = sum(answer.tokens for answer in self.known.values())
        return known + sum(pair.length for pair in self.pairs)

    @property
    def truncated(self) -> list[int]:
        """Places of the documents that were cut to fit."""
        found = [place for place, answer in self.known.items() if answer.truncated]
        found += [i for i, pair in zip(self.places, self.pairs, strict=True) if pair.truncated]
        return sorted(found)

    @property
    def scored(self) -> list[Answer]:
        """What scoring it found, pair by pair."""
        return [
            Answer(self.scores[place], pair.length, pair.truncated)
            for place, pair in zip(self.places, self.pairs, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Item:
    """One pair of a work."""

    work: Work
    index: int

    @property
    def pair(self) -> Pair:
        return self.work.pairs[self.index]


Twins = list[Item]  # items of equal pairs, at least one; they are scored once
Batch = list[Twins]


def twins(items: Iterable[Item], tokens: int) -> list[Twins]:
    """Items of equal pairs together, in the order of the first of each.

    Args:
        tokens: of different pairs; no more of the items are looked at, but for at least one.
    """
    found: dict[tuple[int, tuple[int, ...]], Twins] = {}
    for item in items:
        pair = item.pair
        # By the prefix's identity, as `Pair` has it: equal ones are one object.
        same = found.setdefault((id(pair.shared), pair.own), [])
        if not same:
            tokens -= pair.length
            if tokens < 0 and len(found) > 1:
                found.popitem()
                break
        same.append(item)
    return list(found.values())


def pairs_of(batch: Batch) -> list[Pair]:
    """What is to be scored for it, in order."""
    return [same[0].pair for same in batch]


def works_of(batch: Batch) -> list[Work]:
    return list({id(item.work): item.work for same in batch for item in same}.values())


def alive(batch: Batch) -> Batch:
    """What is left of it without works that are gone: of twins, those that still wait."""
    left = ([item for item in same if not item.work.gone] for same in batch)
    return [same for same in left if same]
