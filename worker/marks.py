"""Telling the ledger what goes on the device, so that a loss is counted against it alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from redis.exceptions import RedisError

from rerankq import tls
from rerankq.ledger import calls
from rerankq.ledger.calls import Holder
from rerankq.ledger.store import Ledger
from worker.holdings import Holdings
from worker.work import Work

log = logging.getLogger(__name__)

FRESH_S = 1.0  # a mark; after a longer pause the entry may be another's


class Marks:
    """Args: drop: told the entries that turn out to be this worker's no longer."""

    def __init__(
        self,
        ledger: Ledger,
        holdings: Holdings,
        holder: Holder,
        *,
        drop: Callable[[set[str]], None],
    ) -> None:
        self._ledger = ledger
        self._holdings = holdings
        self._holder = holder
        self._drop = drop

    def before_launch(self, works: list[Work]) -> list[Work]:
        """Mark what is about to be on the device; returns what is gone from it."""
        now = time.monotonic()
        fresh = now - FRESH_S
        unmarked = {work.entry for work in works if work.entry and work.marked < fresh}
        # A chunk has many works, and some of it is in every batch for seconds.
        entries = sorted(unmarked - self._holdings.marked(fresh))
        for work in works:
            work.marked = 0.0  # the take's; its next batch asks whether it is gone
        if not entries:
            return []
        holder = self._holder
        try:
            gone = self._ledger.run(calls.hold(holder.worker, holder.lease_ms, entries, mark=True))
        except RedisError as error:
            # Scoring what may be gone wastes a batch; not scoring would stop the device.
            log.warning("launched unmarked", extra={"reason": tls.reason(error)})
            return []
        self._holdings.mark(set(entries) - gone, now)
        self._drop(gone)
        # By the works at hand: one that was tokenized after its entry was given up is in no index.
        return [work for work in works if work.entry in gone]
