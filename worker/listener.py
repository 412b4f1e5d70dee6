"""Hearing at once what the ledger tells all workers: jobs that are gone, and bells put down."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from redis.exceptions import RedisError

from rerankq import tls
from rerankq.ledger import calls
from rerankq.ledger.calls import Holder
from rerankq.ledger.keys import Key
from rerankq.ledger.store import Ledger
from worker import vital
from worker.holdings import Holdings

log = logging.getLogger(__name__)

LISTEN_S = 1.0
RECONNECT_S = 1.0


class Listener:
    """Listens on the ledger's channels.

    Of what it misses while Redis is away the keeper finds what is gone when it renews the leases,
    and the bell asks by itself, so nothing depends on it but how soon.

    Args:
        drop: told the entries of this worker whose jobs were cancelled, expired or failed.
        rung: called when a bell was put down.
    """

    def __init__(
        self,
        ledger: Ledger,
        holdings: Holdings,
        holder: Holder,
        *,
        drop: Callable[[set[str]], None],
        rung: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._holdings = holdings
        self._holder = holder
        self._drop = drop
        self._rung = rung
        self._stopped = threading.Event()
        self._thread = vital.thread("listener", self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Hear no more; nothing is held any longer that could be dropped."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                for channel, said in self._ledger.told(LISTEN_S, until=self._stopped.is_set):
                    if channel is Key.RUNG:
                        self._rung()
                    else:
                        self._drop(self._gone(self._holdings.of_job(said)))
            except RedisError as error:
                log.warning("channels not heard", extra={"reason": tls.reason(error)})
                self._stopped.wait(RECONNECT_S)

    def _gone(self, entries: set[str]) -> set[str]:
        # A batch that is stopped goes on with its merge, which may be here already.
        if not entries:
            return entries
        holder = self._holder
        return self._ledger.run(calls.hold(holder.worker, holder.lease_ms, entries, mark=False))
