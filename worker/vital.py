"""Threads without which a worker is worse than none: if one ends by an error, the process does."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

EXIT_THREAD_DIED = 70  # EX_SOFTWARE: a fresh process is the cure
LAST_WORDS_S = 3.0

_dying = threading.Lock()
_last_words: list[Callable[[], None]] = []


def at_death(hand_back: Callable[[], None]) -> None:
    """Called, with a few seconds' time, before the process ends by `die`."""
    _last_words.append(hand_back)


def thread(name: str, body: Callable[[], None]) -> threading.Thread:
    """A thread, not started, that takes the process with it.

    A process that lived on with a dead intake or a dead device would hold its work for ever.
    """

    def guarded() -> None:
        try:
            body()
        except BaseException as error:
            log.critical("a vital thread died", exc_info=error, extra={"thread_name": name})
            die()

    return threading.Thread(target=guarded, name=name, daemon=True)


def die(code: int = EXIT_THREAD_DIED) -> None:
    """End this process at once, after handing back what it can; never returns."""
    if not _dying.acquire(blocking=False):
        threading.Event().wait()  # another thread is at it
    last = threading.Thread(target=_speak, daemon=True)
    last.start()
    last.join(LAST_WORDS_S)
    os._exit(code)


def _speak() -> None:
    for hand_back in _last_words:
        try:
            hand_back()
        except Exception as error:  # nothing may keep a dying process
            log.error("not handed back", exc_info=error)
