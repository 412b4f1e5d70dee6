"""Hearing at once that a job was cancelled, expired or failed, so that the rest is not scored."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from redis.exceptions import RedisError

from rerankq import tls
from rerankq.ledger import calls
from rerankq.ledger.calls import Holder
from rerankq.ledger.store import Ledger
from worker import vital
from worker.holdings import Holdings

log = logging.getLogger(__name__)

LISTEN_S = 1.0
RECONNECT_S = 1.0


class Withdrawals:
    """Listens on the `GONE` channel.

    What it misses while Redis is away the keeper finds when it renews the leases, so nothing
    depends on it but how soon.

    Args:
        drop: told the entries of this worker that are gone.
    """

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
        self._stopped = threading.Event()
        self._thread = vital.thread("withdrawals", self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Hear no more; nothing is held any longer that could be dropped."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                for job_id in self._ledger.gone(LISTEN_S, until=self._stopped.is_set):
                    self._drop(self._gone(self._holdings.of_job(job_id)))
            except RedisError as error:
                log.warning("withdrawals not heard", extra={"reason": tls.reason(error)})
                self._stopped.wait(RECONNECT_S)

    def _gone(self, entries: set[str]) -> set[str]:
        # A batch that is stopped goes on with its merge, which may be here already.
        if not entries:
            return entries
        holder = self._holder
        return self._ledger.run(calls.hold(holder.worker, holder.lease_ms, entries, mark=False))
