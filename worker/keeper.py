"""What a worker does by the clock: renew its leases, say that it lives, give lost work back."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal

from redis.exceptions import RedisError

from rerankq import tls
from rerankq.ledger import calls
from rerankq.ledger.records import WorkerInfo
from rerankq.ledger.store import Ledger
from worker import metrics, vital
from worker.busy import BusyMinute
from worker.coalescer import Coalescer
from worker.device import LEAST_PATIENCE_S
from worker.engine.interface import Engine
from worker.holdings import Holdings

log = logging.getLogger(__name__)

LONGEST_TICK_S = 1.0
TICKS_PER_LEASE = 10
TOKENIZER_PATIENCE_S = 300.0  # with one shard; a second is usual for the largest
SLEPT_S = 10.0  # between two ticks: not slow, but stopped
RENEWALS_PER_LEASE = 3


class Keeper:
    """One thread, one tick a second, or more often where leases are short.

    Args:
        drop: told the entries that turn out to be this worker's no longer.
        renew_deliveries: keeps the messages of public tasks this worker's, too.
    """

    def __init__(
        self,
        ledger: Ledger,
        engine: Engine,
        coalescer: Coalescer,
        holdings: Holdings,
        info: WorkerInfo,
        *,
        lease_ms: int,
        max_strikes: int,
        drop: Callable[[set[str]], None],
        renew_deliveries: Callable[[], None],
    ) -> None:
        self._ledger = ledger
        self._engine = engine
        self._coalescer = coalescer
        self._holdings = holdings
        self._info = info
        self._worker = info.id
        self._lease_ms = lease_ms
        self._drop = drop
        self._renew_deliveries = renew_deliveries
        self._reap_call = calls.reap(lease_ms, max_strikes)
        self._tick_s = min(LONGEST_TICK_S, lease_ms / 1000 / TICKS_PER_LEASE)
        self._stopped = threading.Event()
        self._renewed_at = float("-inf")
        self._busy_before = 0.0
        self._ticked_at = time.monotonic()
        self._busy_minute = BusyMinute(self._ticked_at)
        self._busy = 0.0  # over the last minute
        self._patient_until = float("-inf")
        self._thread = vital.thread("keeper", self._run)
        self.state: Literal["ready", "draining"] = "ready"
        self._redis_ahead_ms = 0.0  # of this host's monotonic clock

    def start(self) -> None:
        try:
            self._beat()
        except RedisError as error:
            log.warning("redis is away", extra={"reason": tls.reason(error)})
        self._thread.start()

    def redis_now_ms(self) -> float:
        """Redis's clock, which fair scores are made of; this host's may be an hour off."""
        return time.monotonic() * 1000 + self._redis_ahead_ms

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._tick_s):
            self._watch()
            self._measure()
            # Each on its own: a Redis too full for a heartbeat still renews leases.
            for duty in (self._renew_deliveries, self._renew, self._beat, self._reap):
                try:
                    duty()
                except RedisError as error:
                    fields = {"duty": duty.__name__, "reason": tls.reason(error)}
                    log.warning("redis refused or is away", extra=fields)

    def _reap(self) -> None:
        reaped = self._ledger.run(self._reap_call)
        metrics.REDELIVERIES.latest = reaped.reclaimed_ever
        if reaped.reclaimed or reaped.expired:
            log.info("reaped", extra=asdict(reaped))

    def _renew(self) -> None:
        if time.monotonic() - self._renewed_at < self._lease_ms / 1000 / RENEWALS_PER_LEASE:
            return
        held = self._holdings.entries()
        if held:
            self._drop(self._ledger.run(calls.hold(self._worker, self._lease_ms, held, mark=False)))
        self._renewed_at = time.monotonic()

    def _beat(self) -> None:
        now = {"state": self.state, "tokens_per_s": self._coalescer.device.rate.tokens_per_s}
        now_ms, drain = self._ledger.heartbeat(self._info.model_copy(update=now), self._busy)
        self._redis_ahead_ms = now_ms - time.monotonic() * 1000
        if drain and self.state == "ready":
            log.info("an operator asks this worker to drain", extra={"worker": self._worker})
            os.kill(os.getpid(), signal.SIGTERM)  # the one way out, whoever asks for it

    def _watch(self) -> None:
        """A device or a tokenizer that hangs: its leases would be renewed for ever."""
        now = time.monotonic()
        if now - self._ticked_at > SLEPT_S:
            # This process was stopped meanwhile, and so was the device.
            self._patient_until = now + SLEPT_S + LEAST_PATIENCE_S
        on_device = self._coalescer.device.current
        if now < self._patient_until:
            return
        if on_device and now > on_device.due:
            log.critical("the device hangs", extra={"entries": sorted(on_device.entries)})
            vital.die()
        if stuck := self._holdings.tokenizing_for(TOKENIZER_PATIENCE_S):
            log.critical("the tokenizer hangs", extra={"entries": sorted(stuck)})
            vital.die()

    def hand_back(self) -> None:
        """The last words of a process that dies: all but what is to blame may go on elsewhere.

        The first batch on the device, or what is with the tokenizer for too long, is left to its
        lease, so that the loss is counted against it. A second one only waited for the first.
        """
        on_device = self._coalescer.device.current
        to_blame = self._holdings.tokenizing_for(TOKENIZER_PATIENCE_S)
        to_blame |= on_device.entries if on_device else set()
        innocent = [entry for entry in self._holdings.entries() if entry not in to_blame]
        if innocent:
            self._ledger.run(calls.release(self._worker, innocent))
        self._ledger.forget_worker(self._worker)

    def _measure(self) -> None:
        now, busy = time.monotonic(), self._coalescer.device.busy_s
        metrics.BUSY.set(min(1.0, (busy - self._busy_before) / (now - self._ticked_at)))
        self._busy_before, self._ticked_at = busy, now
        self._busy = self._busy_minute.look(now, busy)
        for kind, size in self._engine.memory().items():
            metrics.GPU_MEMORY.labels(kind).set(size)
