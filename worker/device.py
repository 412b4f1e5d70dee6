"""The thread that owns the device: batches in, scores to their works, a failure to its pair alone.

No part of it stands still for the sake of a batch's end. Where the device works by itself, as a
GPU does, it is given a batch before a short one ahead of it has ended: else it waited for this
thread to hand out scores, and for the interpreter. A core that has ended its part of a batch is
given one of the next.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import NoReturn

from worker import metrics, traces
from worker.budget import TokenBudget
from worker.engine.interface import Engine, EngineBroken, Launch, OutOfMemory, PairFailed
from worker.planner import cost
from worker.rate import Rate
from worker.work import Batch, Draining, Item, alive, pairs_of, works_of

log = logging.getLogger(__name__)

LEAST_PATIENCE_S = 60.0  # with a batch, before the device is taken for hung
FIRST_PATIENCE_S = 3_600.0  # while no rate is known: a large model on a CPU takes minutes
PATIENCE = 50  # times what the batch should take, if that is longer
SHORT_S = 0.1  # work that comes now waits for a batch more behind such a one, and nobody minds


@dataclass(frozen=True, slots=True)
class Formed:
    """A batch and what launches it; without that it is prepared on the device's thread."""

    batch: Batch
    launch: Launch | None


@dataclass(slots=True)
class OnDevice:
    """A batch that is started, or about to be.

    Attributes:
        patience: seconds with it once it is the first.
        due: monotonic time after which the device must be taken for hung, once it is the first.
        scores: waits for them; raises what went wrong.
        until_room: waits until a further batch may be started beside or behind it, where one may.
    """

    batch: Batch
    started: float
    patience: float
    due: float = math.inf
    scores: Callable[[], list[float]] = list
    until_room: Callable[[], None] | None = None

    @property
    def entries(self) -> set[str]:
        return {work.entry for work in works_of(self.batch) if work.entry}


class Device:
    """Scores formed batches in their order; of two that are on the device the first is waited for.

    Attributes:
        inbox: batches in the order they are to be scored; None ends the thread.
        wanted: released when the thread takes a batch, so that the next may be formed.
        stopping: batches not started yet are handed back.
        current: the first of what is on the device.
        busy_s: it has worked so long.
        rate: of what it has scored.
    """

    def __init__(self, engine: Engine, budget: TokenBudget) -> None:
        self._engine = engine
        self._budget = budget
        self.inbox: SimpleQueue[Formed | None] = SimpleQueue()
        self.wanted = threading.Semaphore(1)
        self.stopping = False
        self.current: OnDevice | None = None
        self.busy_s = 0.0
        self.rate = Rate()
        self._free_since = 0.0
        self._held: Formed | None = None  # taken out of the inbox, and not to be started yet

    def run(self) -> None:
        while (formed := self._next()) is not None:
            self.current = self._take(formed)
            while self.current is not None:
                behind = self._take_behind(self.current)
                self._finish(self.current)
                self._turn_to(behind)

    def _next(self) -> Formed | None:
        held, self._held = self._held, None
        return held or self.inbox.get()

    def _turn_to(self, batch: OnDevice | None) -> None:
        if batch is not None:
            batch.due = time.monotonic() + batch.patience
        self.current = batch

    def score(self, batch: Batch) -> None:
        """Start a batch and wait for it."""
        self._finish(self._start(batch))

    def _take_behind(self, current: OnDevice) -> OnDevice | None:
        if current.until_room is None:
            return None
        current.until_room()
        try:
            formed = self.inbox.get_nowait()
        except Empty:
            return None
        if formed is None:
            self.inbox.put(None)  # for `run`
            return None
        if not self._may_join(current, formed.batch):
            self._held = formed
            return None
        return self._take(formed)

    def _may_join(self, current: OnDevice, further: Batch) -> bool:
        """Whether of no job more than one batch would be on the device."""
        if current.until_room is _at_once:  # two short ones of a GPU's
            return True
        tokens = Counter[str]()
        for same in (*current.batch, *further):
            for item in same:
                if item.work.one_batch:
                    tokens[item.work.job] += len(item.pair.own)
        return max(tokens.values(), default=0) <= self._budget.tokens

    def _take(self, formed: Formed) -> OnDevice | None:
        """Start what is left of a batch, if that is anything."""
        self.wanted.release()
        # Since it was formed, some of it may have been dropped.
        batch = alive(formed.batch)
        if self.stopping:
            for work in works_of(batch):
                work.fail(Draining())
            return None
        if not batch:
            return None
        _observe_waits(batch)
        return self._start(batch, formed.launch if len(batch) == len(formed.batch) else None)

    def _start(self, batch: Batch, launch: Launch | None = None) -> OnDevice:
        rate = self.rate.tokens_per_s
        expected_s = self._cost(batch) / rate if rate else math.inf
        patience = min(FIRST_PATIENCE_S, max(LEAST_PATIENCE_S, PATIENCE * expected_s))
        started = OnDevice(batch, time.monotonic(), patience)
        if self.current is None:
            self._turn_to(started)  # a start may hang, too
        try:
            launch = launch or self._engine.prepare(pairs_of(batch))
            started.scores = launch.start()
        except EngineBroken:
            raise  # this thread is vital: the process ends, and its leases go to others
        except Exception as error:  # met once those before it are finished
            started.scores = partial(_raise, error.with_traceback(None))  # it holds tensors
        else:
            started.until_room = launch.until_room
            if launch.works_by_itself and expected_s <= SHORT_S:
                started.until_room = _at_once
        return started

    def _finish(self, current: OnDevice) -> None:
        """Wait for scores and hand them out; where that fails, try the halves, so that one pair's
        error stays its own."""
        batch = current.batch
        try:
            scores = current.scores()
            if not all(map(math.isfinite, scores)):
                raise ArithmeticError("the model's score is not a finite number")
        except EngineBroken:
            raise
        except Exception as error:
            failure = error.with_traceback(None)
        else:
            self._account(current)
            _hand_out(batch, scores)
            return
        log.warning("batch failed", extra={"pairs": len(batch), "reason": type(failure).__name__})
        if len(batch) == 1:
            for item in batch[0]:
                item.work.fail(_of_one(item, failure))
            return
        if isinstance(failure, OutOfMemory):
            metrics.OOM_SPLITS.inc()
            self._budget.refuse(self._cost(batch))
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            if left := alive(half):
                self.score(left)

    def _cost(self, batch: Batch) -> int:
        return cost(pairs_of(batch), self._engine.profile.layout)

    def _account(self, ended: OnDevice) -> None:
        batch, alone = ended.batch, ended.started >= self._free_since
        seconds = time.monotonic() - max(ended.started, self._free_since)
        self._free_since = time.monotonic()
        tokens = sum(pair.length for pair in pairs_of(batch))
        computed = self._cost(batch)
        self.busy_s += seconds
        self.rate.learn(tokens, seconds, full=2 * computed >= self._budget.tokens, alone=alone)
        self._budget.accept(computed)
        metrics.TOKEN_BUDGET.set(self._budget.tokens)
        metrics.FORWARD.observe(seconds)
        metrics.PAIRS.inc(sum(map(len, batch)))
        metrics.TOKENS.labels("scored").inc(tokens)
        metrics.TOKENS.labels("padding").inc(max(0, computed - tokens))
        metrics.TOKENS.labels("shared").inc(max(0, tokens - computed))
        metrics.BATCH_PAIRS.observe(len(batch))
        metrics.BATCH_TOKENS.observe(computed)
        metrics.BATCH_JOBS.observe(len({work.job for work in works_of(batch)}))
        traces.scored(batch, seconds, computed)


def _at_once() -> None: ...


def _raise(error: Exception) -> NoReturn:
    raise error


def _observe_waits(batch: Batch) -> None:
    now = time.monotonic()
    for work in works_of(batch):
        if not work.launched:
            work.launched = True
            metrics.QUEUE_WAIT.observe(work.waited_s + now - work.received)


def _hand_out(batch: Batch, scores: Sequence[float]) -> None:
    for same, score in zip(batch, scores, strict=True):
        for item in same:
            item.work.put(item.index, score)


def _of_one(item: Item, failure: Exception) -> PairFailed:
    work, tokens = item.work, item.pair.length
    document = work.first + work.places[item.index]
    if isinstance(failure, OutOfMemory):
        detail = f"document {document}: its {tokens} tokens alone do not fit the device's memory"
        error = PairFailed("out_of_memory", detail)
    else:
        detail = f"document {document}: the model could not score it; the worker's log says why"
        error = PairFailed("scoring_failed", detail)
    error.__cause__ = failure
    return error
