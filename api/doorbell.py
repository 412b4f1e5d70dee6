"""Ringing the workers: small Celery messages that name no work.

A bell only makes a worker look into the ledger, so a lost one costs at most the second until the
worker looks by itself, and those that come while one is being published need no message of
their own.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery import Celery

from rerankq import tls
from rerankq.ledger.connection import connect
from rerankq.ledger.keys import QUEUE_BELL, TASK_BELL

log = logging.getLogger(__name__)

MOST_BELLS = 256


class Doorbell:
    """One thread publishes, because Celery's producer blocks."""

    def __init__(self, app: Celery, redis_url: str) -> None:
        self._app = app
        self._redis: Any = connect(redis_url)
        self._changed = threading.Condition()
        self._wanted = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="doorbell", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ring(self, bells: int) -> None:
        """Ask for that many workers' attention; returns at once."""
        with self._changed:
            self._wanted = max(self._wanted, min(bells, MOST_BELLS))
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=5)
        self._redis.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._stopping)
                if self._stopping:
                    return
                bells, self._wanted = self._wanted, 0
            try:
                # A worker whose threads are all taken leaves them lying; more would only pile up.
                bells -= self._redis.llen(QUEUE_BELL)
                for _ in range(bells):
                    self._app.send_task(
                        TASK_BELL, queue=QUEUE_BELL, ignore_result=True, retry=False
                    )
            except Exception as error:  # whatever the broker raises: the workers look by themselves
                log.warning("no bell rung", extra={"reason": tls.reason(error)})
