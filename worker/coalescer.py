"""Many jobs in, full batches out: two threads, of which one owns the device.

    submit --> waiting --(former: plan, hold, prepare)--> one batch ahead --(device)--> work.done

Work-conserving: the former never waits for a fuller batch. While the device is busy exactly one
batch is formed ahead, so the next plan always sees the newest work. Equal pairs that wait share one
place in a batch, and its score.
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence

from rerankq.status import Lane
from worker import metrics, vital
from worker.budget import TokenBudget
from worker.device import Device, Formed
from worker.engine.interface import Engine, Launch
from worker.planner import LOOKAHEAD_BUDGETS, plan
from worker.turns import Turns
from worker.work import Batch, Draining, Item, Work, alive, pairs_of, twins, works_of

log = logging.getLogger(__name__)


class Coalescer:
    """Scores works in batches across all of them.

    Args:
        before_launch: told which works are about to be put on the device; those it returns are
            gone, and dropped. Runs on the former's thread, so it may take its time.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        before_launch: Callable[[list[Work]], Sequence[Work]],
    ) -> None:
        self._engine = engine
        self._before_launch = before_launch
        self._waiting: list[Item] = []  # interactive first, then by order
        self._budget = TokenBudget(engine.profile.token_budget)
        metrics.TOKEN_BUDGET.set(self._budget.tokens)
        self._turns = Turns(engine.profile.token_budget)
        self._changed = threading.Condition()
        self._stopping = False
        self.device = Device(engine, self._budget)
        self._former_thread = vital.thread("former", self._form)
        self._device_thread = vital.thread("device", self.device.run)

    def start(self) -> None:
        self._former_thread.start()
        self._device_thread.start()

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
            items = [Item(work, index) for index in range(len(work.pairs))]
            at = bisect_right(self._waiting, _order(items[0]), key=_order)
            self._waiting[at:at] = items
            self._changed.notify()

    def drop(self, works: Iterable[Work]) -> None:
        """Forget what is left of these; a batch that was formed still ends."""
        with self._changed:
            for work in works:
                work.gone = True
            self._waiting = [item for item in self._waiting if not item.work.gone]

    def drain(self) -> None:
        """Let what is on the device end and start nothing more. What is left is not scored."""
        with self._changed:
            self._stopping = self.device.stopping = True
            left = {id(item.work): item.work for item in self._waiting}
            self._waiting = []
            self._changed.notify()
        if self._device_thread.ident is not None:
            self._device_thread.join()
        for work in left.values():
            work.fail(Draining())

    def _form(self) -> None:
        while True:
            self.device.wanted.acquire()
            batch = self._next_batch()
            if batch is None:
                self.device.inbox.put(None)
                return
            self.device.inbox.put(Formed(batch, self._prepared(batch)))

    def _next_batch(self) -> Batch | None:
        """The next batch that has anything left in it; None when draining."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return None
                batch = self._plan()
            if gone := self._before_launch(works_of(batch)):
                self.drop(gone)
            batch = alive(batch)
            if batch:
                return batch

    def _plan(self) -> Batch:
        """Take the next batch out of what waits, led by the lane whose turn it is."""
        bulk_from = bisect_left(self._waiting, True, key=_is_bulk)
        interactive, bulk = self._waiting[:bulk_from], self._waiting[bulk_from:]
        lanes = [bulk, interactive] if self._turns.bulk else [interactive, bulk]
        leading, others = lanes if lanes[0] else reversed(lanes)
        profile, budget = self._engine.profile, self._budget.tokens
        # Of no more than a plan looks at: this thread and the device's share one interpreter.
        rows = twins(leading + others, LOOKAHEAD_BUDGETS * budget)
        led = sum(_is_bulk(same[0]) is _is_bulk(leading[0]) for same in rows)
        batch = [rows[i] for i in plan(pairs_of(rows), budget, profile.layout, led)]
        taken = {id(item) for same in batch for item in same}
        self._waiting = [item for item in self._waiting if id(item) not in taken]
        for same in batch:
            self._turns.count(same[0].work.lane, same[0].pair.length, bool(bulk))
        return batch

    def _prepared(self, batch: Batch) -> Launch | None:
        try:
            return self._engine.prepare(pairs_of(batch))
        except Exception as error:  # met again at the launch, where the batch is halved
            log.debug("batch not prepared", exc_info=error)
            return None


def _is_bulk(item: Item) -> bool:
    return item.work.lane is Lane.BULK


def _order(item: Item) -> tuple[bool, float]:
    return _is_bulk(item), item.work.order
