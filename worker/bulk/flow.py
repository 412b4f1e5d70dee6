"""What of one chunk is with the coalescer: so many tokens at most, and then its scores alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from rerankq.bulk.records import Bad, Record, Scored
from rerankq.schema import Problem
from rerankq.status import Lane
from worker.coalescer import Coalescer
from worker.encoder import Encoder
from worker.engine.interface import PairFailed, Profile, Unscorable
from worker.planner import cost
from worker.work import Draining, Work

SLICE = 128  # documents tokenized at once
LOOK_S = 0.5  # how often one that waits looks whether its entry is still this worker's


class Abandoned(Exception):
    """The entry is no longer this worker's to run."""


@dataclass(slots=True)
class _Slice:
    """What became of some documents of a record; of their pairs nothing is kept."""

    log_odds: list[float] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)  # places in the record
    tokens: int = 0
    held: int = 0  # of the window
    error: Exception | None = None


@dataclass(slots=True)
class _Open:
    """A record whose documents are being scored, in slices of `SLICE`."""

    record: Record
    slices: list[_Slice]


class Flow:
    """Scores records one after the other, many of them at a time.

    Args:
        entry, batch_id, order: of the ledger.
        window: tokens to compute that may be with the coalescer.
        ours: whether the entry still is this worker's.
        watch: around each step that could hang.
        scored: told each work that is; must not block.
        instruction: the batch's.
    """

    def __init__(
        self,
        encoder: Encoder,
        coalescer: Coalescer,
        profile: Profile,
        *,
        entry: str,
        batch_id: str,
        order: float,
        window: int,
        instruction: str | None,
        ours: Callable[[], bool],
        watch: Callable[[], AbstractContextManager[None]],
        scored: Callable[[Work], None],
    ) -> None:
        self._encoder = encoder
        self._coalescer = coalescer
        self._profile = profile
        self._entry = entry
        self._batch_id = batch_id
        self._order = order
        self._window = window
        self._instruction = instruction
        self._ours = ours
        self._watch = watch
        self._keep = scored
        self._changed = threading.Condition()
        self._held = 0
        self._with_coalescer: dict[int, tuple[Work, _Slice]] = {}
        self._open: list[_Open] = []

    def add(self, record: Record) -> Bad | None:
        """Tokenize a record and have it scored; waits for room. What is wrong with it, if it is.

        Raises: Abandoned.
        """
        opened = _Open(record, [])
        for first in range(0, len(record.documents), SLICE):
            self._wait(lambda: self._held < self._window)
            try:
                work = self._work(record, first)
            except Unscorable as error:
                return _bad(record, error.problem)
            opened.slices.append(_Slice())
            self._submit(work, opened.slices[-1])
        self._open.append(opened)
        return None

    def results(self) -> list[Scored | Bad]:
        """Of all records that were added, in order, once they are scored.

        Raises: Abandoned.
        """
        self._wait(lambda: not self._with_coalescer)
        slices = (one for opened in self._open for one in opened.slices)
        if any(isinstance(one.error, Draining) for one in slices):
            raise Abandoned
        return [self._result(opened) for opened in self._open]

    def abandon(self) -> None:
        """Nothing of it is worth scoring any more."""
        with self._changed:
            works = [work for work, _ in self._with_coalescer.values()]
        self._coalescer.drop(works)

    def _work(self, record: Record, first: int) -> Work:
        """Raises: Unscorable."""
        texts = record.documents[first : first + SLICE]
        with self._watch():
            encoded = self._encoder.encode(
                record.query, record.instruction or self._instruction, texts
            )
        return Work(
            entry=self._entry,
            job=self._batch_id,
            pairs=encoded.pairs,
            order=self._order,
            done=self._done,
            lane=Lane.BULK,
            one_batch=False,
            known=encoded.known,
            keys=encoded.keys,
            first=first,
        )

    def _submit(self, work: Work, its: _Slice) -> None:
        its.tokens, its.held = work.tokens, self._cost(work)
        with self._changed:
            self._held += its.held
            self._with_coalescer[id(work)] = work, its
        try:
            self._coalescer.submit(work)
        except Draining:
            raise Abandoned from None

    def _done(self, work: Work) -> None:
        with self._changed:
            _, its = self._with_coalescer.pop(id(work))
            its.log_odds, its.error = work.scores, work.error
            its.truncated = [work.first + place for place in work.truncated]
            self._held -= its.held
            self._changed.notify_all()
        if work.error is None:
            self._keep(work)

    def _cost(self, work: Work) -> int:
        """As a batch counts it, or by lengths, if those are less: many pairs with a long prefix do
        not fill a batch, nor does padding to the longest, whose company is of other records."""
        if not work.pairs:
            return 0
        lengths = sum(pair.length for pair in work.pairs)
        return min(lengths, cost(work.pairs, self._profile.layout))

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Raises: Abandoned."""
        while self._ours():
            with self._changed:
                if self._changed.wait_for(condition, LOOK_S):
                    return
        raise Abandoned

    def _result(self, opened: _Open) -> Scored | Bad:
        for one in opened.slices:
            if one.error is not None:
                told = one.error.problem if isinstance(one.error, PairFailed) else None
                return _bad(opened.record, told)
        return Scored(
            opened.record,
            [score for one in opened.slices for score in one.log_odds],
            [place for one in opened.slices for place in one.truncated],
            sum(one.tokens for one in opened.slices),
            self._profile.model,
            self._profile.revision,
        )


def _bad(record: Record, problem: Problem | None) -> Bad:
    code = problem.code if problem else "scoring_failed"
    detail = (
        problem.detail if problem else "the model could not score it; the worker's log says why"
    )
    return Bad(record.line, code, detail, record.query_id)
