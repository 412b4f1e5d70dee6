"""Hearing that there is work: an idle worker blocks on Redis, a busy one asks now and then.

So a job goes to a worker that does nothing, if there is one, and never lies behind a busy one's
batch. A bell names no work, so a lost one costs no more than the time until the intake looks by
itself.
"""

from __future__ import annotations

import logging
import threading

from redis.exceptions import RedisError

from rerankq import tls
from rerankq.ledger.store import Ledger
from worker import vital
from worker.intake import Intake
from worker.room import Closed, Room

log = logging.getLogger(__name__)

LISTEN_S = 1.0  # also how fast it notices a stop, and that the worker is no longer idle
ASK_EVERY_S = 0.02  # while busy
RECONNECT_S = 1.0


class Bell:
    """Takes bells for the intake, but none that others could follow sooner.

    While the intake knows of work that it could not take it needs no bell, so it leaves them; one
    that was heard and could not be followed is passed on.
    """

    def __init__(self, ledger: Ledger, room: Room, intake: Intake) -> None:
        self._ledger = ledger
        self._room = room
        self._intake = intake
        self._stopped = threading.Event()
        self._thread = vital.thread("bell", self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Follow no more; the room is closed before."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                if self._heard() and (self._stopped.is_set() or not self._intake.look()):
                    self._ledger.ring()
            except Closed:
                return
            except RedisError as error:
                log.debug("no bell heard", extra={"reason": tls.reason(error)})
                self._stopped.wait(RECONNECT_S)

    def _heard(self) -> bool:
        if self._intake.left:
            self._room.wait_for_change(ASK_EVERY_S)
            return False
        if self._room.empty:
            return self._ledger.heard(LISTEN_S)
        self._room.wait_for_change(ASK_EVERY_S)
        return self._room.free > 0 and self._ledger.heard(0)
