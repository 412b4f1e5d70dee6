"""Threads without which a worker is worse than none: if one ends by an error, the process does."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

EXIT_THREAD_DIED = 70  # EX_SOFTWARE: a fresh process is the cure


def thread(name: str, body: Callable[[], None]) -> threading.Thread:
    """A thread, not started, that takes the process with it.

    Leases then lapse and other workers take over; a process that lived on with a dead intake or a
    dead device would hold its work for ever.
    """

    def guarded() -> None:
        try:
            body()
        except BaseException as error:
            log.critical("a vital thread died", exc_info=error, extra={"thread_name": name})
            os._exit(EXIT_THREAD_DIED)

    return threading.Thread(target=guarded, name=name, daemon=True)
