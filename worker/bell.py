"""Hearing at once that there is work: blocked on Redis while this worker has room.

A bell names no work, so a lost one costs no more than the time until the intake looks by itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from redis.exceptions import RedisError

from rerankq import tls
from rerankq.ledger.store import Ledger
from worker import vital
from worker.room import Closed, Room

log = logging.getLogger(__name__)

LISTEN_S = 1.0  # also how fast it notices a stop
RECONNECT_S = 1.0


class Bell:
    """Takes a bell when this worker can take work; those of a full worker are left to others.

    Args:
        ring: called for each bell; must not block.
    """

    def __init__(self, ledger: Ledger, room: Room, *, ring: Callable[[], None]) -> None:
        self._ledger = ledger
        self._room = room
        self._ring = ring
        self._stopped = threading.Event()
        self._thread = vital.thread("bell", self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Hear nothing more; the room is closed before."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._room.wait_for_room()
                if self._ledger.heard(LISTEN_S):
                    self._ring()
            except Closed:
                return
            except RedisError as error:
                log.debug("no bell heard", extra={"reason": tls.reason(error)})
                self._stopped.wait(RECONNECT_S)
