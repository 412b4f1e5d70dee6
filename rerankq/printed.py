"""What is printed instead of logged, as log lines: libraries' prints, warnings and tracebacks.

A log that a machine reads must not have lines of another form in between. What C code writes to the
descriptor itself, mostly while the process dies, stays as it is.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from types import TracebackType
from typing import TextIO

log = logging.getLogger(__name__)


def take_over() -> None:
    """From now on what this process prints, and errors that nobody catches, are logged.

    To be called when the root logger has a handler with a stream of its own.
    """
    sys.stdout = _Lines(sys.stdout, logging.getLogger("stdout"), logging.INFO)
    sys.stderr = _Lines(sys.stderr, logging.getLogger("stderr"), logging.WARNING)
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


class _Lines(io.TextIOBase):
    """A stream each of whose lines is a record."""

    def __init__(self, instead_of: TextIO, logger: logging.Logger, level: int) -> None:
        super().__init__()
        self._instead_of, self._logger, self._level = instead_of, logger, level
        self._rest = ""
        self._lock = threading.RLock()  # a signal's handler may print, too
        self._logging = threading.local()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._instead_of.fileno()

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._rest = (self._rest + text).replace("\r", "\n").split("\n")
        self._log(lines)
        return len(text)

    def flush(self) -> None:
        with self._lock:
            rest, self._rest = self._rest, ""
        self._log([rest])

    def _log(self, lines: list[str]) -> None:
        if getattr(self._logging, "now", False):
            return  # what logging says of a record that it could not write would be the next one
        self._logging.now = True
        try:
            for line in lines:
                if line.strip():
                    self._logger.log(self._level, "%s", line.rstrip())
        finally:
            self._logging.now = False


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("uncaught error", exc_info=(kind, error, trace))


def _uncaught_in_thread(of: threading.ExceptHookArgs) -> None:
    if of.exc_type is not SystemExit:
        error = of.exc_value or of.exc_type()
        log.critical(
            "uncaught error",
            exc_info=(of.exc_type, error, of.exc_traceback),
            extra={"thread_name": of.thread.name if of.thread else ""},
        )
