"""Publishing the messages of public tasks whose jobs have ended (see rerankq.ledgered)."""

from __future__ import annotations

import contextlib
import logging
import threading

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from rerankq import tls
from rerankq.envelope import Envelope
from rerankq.ledger import calls
from rerankq.ledger.keys import HEADER_JOB
from rerankq.ledger.store import Ledger
from worker import vital

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
AT_ONCE = 64


class Outbox:
    """One thread publishes; what nobody acknowledges in time is published again.

    Args:
        again_ms: after which a message must be taken for lost.
    """

    def __init__(self, app: Celery, ledger: Ledger, *, again_ms: int) -> None:
        self._app = app
        self._ledger = ledger
        self._again_ms = again_ms
        self._rung = threading.Event()
        self._stopping = False
        self._thread = vital.thread("outbox", self._run)

    def start(self) -> None:
        self._thread.start()

    def ring(self) -> None:
        """A job may have ended."""
        self._rung.set()

    def stop(self) -> None:
        self._stopping = True
        self._rung.set()
        if self._thread.ident is not None:
            self._thread.join()
        # What this worker has just completed: there may be no other for a while.
        with contextlib.suppress(RedisError, OperationalError):
            self._publish()

    def _run(self) -> None:
        while not self._stopping:
            self._rung.wait(LOOK_EVERY_S)
            self._rung.clear()
            try:
                while not self._stopping and self._publish() == AT_ONCE:
                    pass
            except (RedisError, OperationalError) as error:
                log.warning("no result published", extra={"reason": tls.reason(error)})
                threading.Event().wait(LOOK_EVERY_S)

    def _publish(self) -> int:
        due = self._ledger.run(calls.claim("task", self._again_ms, AT_ONCE))
        if due:
            with self._app.producer_or_acquire() as producer:
                for each in due:
                    Envelope.decode(each.what).publish(producer, **{HEADER_JOB: each.job_id})
        return len(due)
