"""A unit of work on its way through this worker, and a batch cut across many of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rerankq.status import Lane
from worker.engine.interface import Pair


@dataclass(eq=False, slots=True)
class Work:
    """The pairs of one shard or one public task, scored together or apart.

    Attributes:
        entry: the ledger entry; empty for a public task.
        job: what several works of one job share; batches count jobs by it.
        order: lower is scored first within its lane, in ms.
        done: called once, on the device thread, when the last pair is scored or the work has
            failed; it must not block.
        first: index of the first document within its job.
        waited_s: how long it was in the queue before this worker had it.
        gone: cancelled, expired or given away; what is left of it is not scored.
    """

    entry: str
    job: str
    pairs: Sequence[Pair]
    order: float
    done: Callable[[Work], None]
    lane: Lane = Lane.INTERACTIVE
    waited_s: float = 0.0
    first: int = 0
    log_fields: dict[str, Any] = field(default_factory=dict)
    received: float = field(default_factory=time.monotonic)
    scores: list[float] = field(init=False)
    left: int = field(init=False)
    launched: bool = False
    gone: bool = False
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.left = len(self.pairs)
        self.scores = [0.0] * self.left

    def put(self, index: int, score: float) -> None:
        self.scores[index] = score
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
        return sum(pair.length for pair in self.pairs)


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


def twins(items: Iterable[Item]) -> list[Twins]:
    """Items of equal pairs together, in the order of the first of each."""
    found: dict[tuple[int, tuple[int, ...]], Twins] = {}
    for item in items:
        # By the prefix's identity, as `Pair` has it: equal ones are one object.
        found.setdefault((id(item.pair.shared), item.pair.own), []).append(item)
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
