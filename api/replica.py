"""What the processes of one replica share, if there are several: their metrics."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Gauge, values
from prometheus_client.multiprocess import MultiProcessCollector

PLACE_VARIABLE = "API_PLACE"  # which of the processes this one is, or is instead of
# Made, and emptied, by the supervisor; prometheus_client reads the same variable.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
FOLDER = os.environ.get(FOLDER_VARIABLE) if PLACE_VARIABLE in os.environ else None

if FOLDER is not None:
    # By place and not by process: whoever follows a dead one counts on in its files.
    values.ValueClass = values.MultiProcessValue(lambda: os.environ[PLACE_VARIABLE])


def registry() -> CollectorRegistry:
    """What a scrape shows, whichever process it meets: the metrics of all of them."""
    if FOLDER is None:
        return REGISTRY
    together = CollectorRegistry()
    MultiProcessCollector(together, FOLDER)
    # Of the youngest, so that each one's death is seen, as an alert on restarts wants it.
    started = Gauge(
        "process_start_time_seconds",
        "Start time of the youngest process since unix epoch in seconds.",
        registry=None,
        multiprocess_mode="livemax",
    )
    started.set(time.time())
    return together


class Turn:
    """Which one of the processes counts what all of them hear; a dead one's is another's."""

    def __init__(self) -> None:
        self._lock = None if FOLDER is None else (Path(FOLDER) / "turn.lock").open("w")
        self._mine = self._lock is None

    def is_mine(self) -> bool:
        if not self._mine and self._lock is not None:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._mine = True
            except BlockingIOError:
                pass
        return self._mine
