"""What of one chunk is with the coalescer: bounded, so that a chunk of any size fits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from rerankq.bulk.records import Bad, Record, Scored
from rerankq.schema import Problem
from rerankq.status import Lane
from worker.coalescer import Coalescer
from worker.encoder import Encoder
from worker.engine.interface import PairFailed, Profile, Unscorable
from worker.work import Draining, Work

SLICE = 128  # documents tokenized at once
LOOK_S = 0.5  # how often one that waits looks whether its entry is still this worker's


class Abandoned(Exception):
    """The entry is no longer this worker's to run."""


@dataclass(slots=True)
class _Open:
    """A record whose documents are being scored.

    Attributes:
        works: in document order, of `SLICE` documents each.
    """

    record: Record
    works: list[Work]


class Flow:
    """Scores records one after the other, many of them at a time.

    Args:
        entry, batch_id, order: of the ledger.
        window: tokens that may be with the coalescer.
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
        self._held = 0
        self._changed = threading.Condition()
        self._open: list[_Open] = []

    def add(self, record: Record) -> Bad | None:
        """Tokenize a record and have it scored; waits for room. What is wrong with it, if it is.

        Raises: Abandoned.
        """
        instruction = record.instruction or self._instruction
        opened = _Open(record, [])
        self._open.append(opened)
        for first in range(0, len(record.documents), SLICE):
            texts = record.documents[first : first + SLICE]
            try:
                with self._watch():
                    encoded = self._encoder.encode(record.query, instruction, texts)
            except Unscorable as error:
                self._open.pop()
                return _bad(record, error.problem)
            work = Work(
                entry=self._entry,
                job=self._batch_id,
                pairs=encoded.pairs,
                order=self._order,
                done=self._done,
                lane=Lane.BULK,
                known=encoded.known,
                keys=encoded.keys,
                first=first,
            )
            self._wait(lambda: self._held < self._window)
            opened.works.append(work)
            self._hold(work)
        return None

    def results(self) -> list[Scored | Bad]:
        """Of all records that were added, in order, once they are scored.

        Raises: Abandoned.
        """
        self._wait(lambda: self._held == 0)
        works = [work for opened in self._open for work in opened.works]
        if any(isinstance(work.error, Draining) for work in works):
            raise Abandoned
        return [self._result(opened) for opened in self._open]

    def abandon(self) -> None:
        """Nothing of it is worth scoring any more."""
        self._coalescer.drop(work for opened in self._open for work in opened.works)

    def _hold(self, work: Work) -> None:
        with self._changed:
            self._held += max(1, work.tokens)
        try:
            self._coalescer.submit(work)
        except Draining:
            raise Abandoned from None

    def _done(self, work: Work) -> None:
        with self._changed:
            self._held -= max(1, work.tokens)
            self._changed.notify_all()
        if work.error is None:
            self._keep(work)

    def _wait(self, condition: Callable[[], bool]) -> None:
        with self._changed:
            while not self._changed.wait_for(condition, LOOK_S):
                if not self._ours():
                    raise Abandoned

    def _result(self, opened: _Open) -> Scored | Bad:
        for work in opened.works:
            if work.error is not None:
                told = work.error.problem if isinstance(work.error, PairFailed) else None
                return _bad(opened.record, told)
        return Scored(
            opened.record,
            [score for work in opened.works for score in work.scores],
            [work.first + place for work in opened.works for place in work.truncated],
            sum(work.tokens for work in opened.works),
            self._profile.model,
            self._profile.revision,
        )


def _bad(record: Record, problem: Problem | None) -> Bad:
    code = problem.code if problem else "scoring_failed"
    detail = (
        problem.detail if problem else "the model could not score it; the worker's log says why"
    )
    return Bad(record.line, code, detail, record.query_id)
