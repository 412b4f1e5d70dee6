"""Many jobs in, full batches out: two threads, of which one owns the device.

    submit --> waiting --(former: plan, hold, prepare)--> one batch ahead --(device)--> work.done

Work-conserving: the former never waits for a fuller batch. While the device is busy exactly one
batch is formed ahead, so the next plan always sees the newest work. Equal pairs that wait share one
place in a batch, and its score.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

from rerankq.status import Lane
from worker import metrics, traces, vital
from worker.budget import TokenBudget
from worker.engine.interface import Engine, EngineBroken, Launch, OutOfMemory, PairFailed
from worker.planner import cost, plan
from worker.turns import Turns
from worker.work import Batch, Item, Work, alive, pairs_of, twins, works_of

log = logging.getLogger(__name__)

LEAST_PATIENCE_S = 60.0  # with a batch, before the device is taken for hung
FIRST_PATIENCE_S = 3_600.0  # while no rate is known: a large model on a CPU takes minutes
PATIENCE = 50  # times what the batch should take, if that is longer


class Draining(Exception):
    """This worker is going away; the work has to be done by another."""


class Coalescer:
    """Scores works in batches across all of them.

    Args:
        before_launch: told which works are about to be put on the device; those it drops are left
            out of the batch. Runs on the former's thread, so it may take its time.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        before_launch: Callable[[list[Work]], None],
    ) -> None:
        self._engine = engine
        self._before_launch = before_launch
        self._waiting: list[Item] = []  # interactive first, then by order
        self._budget = TokenBudget(engine.profile.token_budget)
        metrics.TOKEN_BUDGET.set(self._budget.tokens)
        self._turns = Turns(engine.profile.token_budget)
        self._changed = threading.Condition()
        self._stopping = False
        self._may_form = threading.Semaphore(1)
        self._formed: SimpleQueue[Formed | None] = SimpleQueue()
        self._former = vital.thread("former", self._form)
        self._device = vital.thread("device", self._run)
        self.busy_s = 0.0
        self.tokens_per_s = 0.0  # learned from batches that are at least half full
        self._full_seen = False
        self._on_device: OnDevice | None = None

    def start(self) -> None:
        self._former.start()
        self._device.start()

    def submit(self, work: Work) -> None:
        """Add a work's pairs; `work.done` is called when they are scored.

        Raises:
            Draining: no more work is taken.
        """
        if not work.pairs:
            work.done(work)
            return
        with self._changed:
            if self._stopping:
                raise Draining
            self._waiting += [Item(work, index) for index in range(len(work.pairs))]
            self._waiting.sort(key=_order)
            self._changed.notify()

    def drop(self, works: Iterable[Work]) -> None:
        """Forget what is left of these; a batch that was formed still ends."""
        with self._changed:
            for work in works:
                work.gone = True
            self._waiting = [item for item in self._waiting if not item.work.gone]

    def drain(self) -> None:
        """Let the batch on the device end and start no other. What is left is not scored."""
        with self._changed:
            self._stopping = True
            left = {id(item.work): item.work for item in self._waiting}
            self._waiting = []
            self._changed.notify()
        if self._device.ident is not None:
            self._device.join()
        for work in left.values():
            work.fail(Draining())

    def _form(self) -> None:
        while True:
            self._may_form.acquire()
            batch = self._next_batch()
            if batch is None:
                self._formed.put(None)
                return
            self._formed.put(Formed(batch, self._prepared(batch)))

    def _next_batch(self) -> Batch | None:
        """The next batch that has anything left in it; None when draining."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return None
                batch = self._plan()
            self._before_launch(works_of(batch))
            batch = alive(batch)
            if batch:
                return batch

    def _plan(self) -> Batch:
        """Take the next batch out of what waits, led by the lane whose turn it is."""
        bulk_from = bisect_left(self._waiting, True, key=_is_bulk)
        interactive, bulk = self._waiting[:bulk_from], self._waiting[bulk_from:]
        lanes = [bulk, interactive] if self._turns.bulk else [interactive, bulk]
        leading, others = lanes if lanes[0] else reversed(lanes)
        rows = twins(leading + others)
        led = sum(_is_bulk(same[0]) is _is_bulk(leading[0]) for same in rows)
        profile = self._engine.profile
        chosen = plan(pairs_of(rows), self._budget.tokens, profile.layout, led)
        batch = [rows[i] for i in chosen]
        taken = set(chosen)
        left = (item for i, same in enumerate(rows) if i not in taken for item in same)
        self._waiting = sorted(left, key=_order)
        for same in batch:
            self._turns.count(same[0].work.lane, same[0].pair.length, bool(bulk))
        return batch

    def _prepared(self, batch: Batch) -> Launch | None:
        try:
            return self._engine.prepare(pairs_of(batch))
        except Exception as error:  # met again at the launch, where the batch is halved
            log.debug("batch not prepared", exc_info=error)
            return None

    def _run(self) -> None:
        while (formed := self._formed.get()) is not None:
            self._may_form.release()
            # Since it was formed, some of it may have been dropped.
            batch = alive(formed.batch)
            if self._stopping:
                _hand_back(batch)
            elif batch:
                self._observe_waits(batch)
                self._on_device = OnDevice(batch, self._due(batch))
                self._score(batch, formed.launch if len(batch) == len(formed.batch) else None)
                self._on_device = None

    @property
    def on_device(self) -> OnDevice | None:
        """What the device works on now."""
        return self._on_device

    def _due(self, batch: Batch) -> float:
        """When even a slow device has scored it, pair by pair if need be."""
        tokens = self._cost(batch)
        if not self.tokens_per_s:
            return time.monotonic() + FIRST_PATIENCE_S
        return time.monotonic() + max(LEAST_PATIENCE_S, PATIENCE * tokens / self.tokens_per_s)

    def _cost(self, batch: Batch) -> int:
        return cost(pairs_of(batch), self._engine.profile.layout)

    def _observe_waits(self, batch: Batch) -> None:
        now = time.monotonic()
        for work in works_of(batch):
            if not work.launched:
                work.launched = True
                metrics.QUEUE_WAIT.observe(work.waited_s + now - work.received)

    def _score(self, batch: Batch, launch: Launch | None = None) -> None:
        """Score a batch; where that fails, its halves, so that one pair's error stays its own."""
        started = time.monotonic()
        try:
            launch = launch or self._engine.prepare(pairs_of(batch))
            scores = launch()
            if not all(map(math.isfinite, scores)):
                raise ArithmeticError("the model's score is not a finite number")
        except EngineBroken:
            raise  # this thread is vital: the process ends, and its leases go to others
        except Exception as error:
            failure = error.with_traceback(None)  # it holds the batch's tensors
        else:
            self._account(batch, time.monotonic() - started)
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
                self._score(left)

    def _account(self, batch: Batch, seconds: float) -> None:
        tokens = sum(pair.length for pair in pairs_of(batch))
        computed = self._cost(batch)
        self.busy_s += seconds
        self._learn_rate(tokens / max(seconds, 1e-6), full=2 * computed >= self._budget.tokens)
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

    def _learn_rate(self, rate: float, *, full: bool) -> None:
        # A batch far from full only says what the device can do at least.
        if full:
            self.tokens_per_s += (rate - self.tokens_per_s) * (0.1 if self._full_seen else 1.0)
            self._full_seen = True
        elif not self._full_seen:
            self.tokens_per_s = max(self.tokens_per_s, rate)


@dataclass(frozen=True, slots=True)
class OnDevice:
    """A launched batch, and the monotonic time after which the device must be taken for hung."""

    batch: Batch
    due: float

    @property
    def entries(self) -> set[str]:
        return {work.entry for work in works_of(self.batch) if work.entry}


@dataclass(frozen=True, slots=True)
class Formed:
    """A batch and what launches it; without that it is prepared on the device's thread."""

    batch: Batch
    launch: Launch | None


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


def _hand_back(batch: Batch) -> None:
    for work in works_of(batch):
        work.fail(Draining())


def _is_bulk(item: Item) -> bool:
    return item.work.lane is Lane.BULK


def _order(item: Item) -> tuple[bool, float]:
    return _is_bulk(item), item.work.order
