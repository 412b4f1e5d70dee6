"""Hearing that there is work: an idle worker blocks on Redis, a busy one is told, and asks.

So a job goes to a worker that does nothing, if there is one, and never lies behind a busy one's
batch. A bell names no work, so a lost one costs no more than the time until the intake looks by
itself.
"""

from __future__ import annotations

import logging
import threading
import time

from redis.exceptions import RedisError

from rerankq import tls
from rerankq.ledger.store import Ledger
from worker import vital
from worker.intake import Intake
from worker.room import Closed, Room

log = logging.getLogger(__name__)

LISTEN_S = 1.0  # also how fast an idle worker notices a stop, and how often a busy one asks untold
ASK_EVERY_S = 0.02  # at most, while busy
GRACE_S = 0.002  # for an idle worker that is just about to listen
FULL_S = 0.02  # between two looks whether there is room, or need of a bell, while there is none
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
        self._told = False  # of a bell that may lie there
        self._asked = 0.0
        self._thread = vital.thread("bell", self._run)

    def start(self) -> None:
        self._thread.start()

    def listen(self) -> None:
        """A bell was put down; an idle worker that blocks on the list has it by now."""
        self._told = True
        self._room.nudge()

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
                self._told = True  # it may have been put down all the same
                self._stopped.wait(RECONNECT_S)

    def _heard(self) -> bool:
        if self._intake.left or self._room.free <= 0:
            self._room.wait_for_change(FULL_S)
            return False
        if not self._room.empty:
            return self._heard_while_busy()
        heard = self._ledger.heard(LISTEN_S)
        self._asked = time.monotonic()
        return heard

    def _heard_while_busy(self) -> bool:
        self._room.wait_until(lambda: self._told or self._room.empty, LISTEN_S)
        pause = max(GRACE_S, self._asked + ASK_EVERY_S - time.monotonic())
        self._room.wait_until(lambda: self._room.empty, pause)
        if self._room.empty or self._room.free <= 0 or self._intake.left:
            return False
        self._told = False  # first, or what is put down meanwhile would be forgotten
        heard = self._ledger.heard(0)
        self._asked = time.monotonic()
        if heard:
            self._told = True  # there may be more
        return heard
