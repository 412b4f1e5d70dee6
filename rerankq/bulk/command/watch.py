"""A batch until its end, through whatever its service goes through meanwhile."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from rerankq.bulk.command.progress import Progress
from rerankq.bulk.command.service import Service
from rerankq.bulk.command.state import BatchState
from rerankq.errors import ConnectionFailed, Overloaded, Unavailable

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
# Of the time gone by: how late the end may be seen, and how old what is shown may be where the end
# is told. A look costs 4 ms of a core that a worker may want.
LATE, OLD = 1 / 50, 1 / 4
AWAY = (ConnectionFailed, Overloaded, Unavailable)


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Gives what raises KeyboardInterrupt if there was one in the block: raised where it comes, it
    may be lost among callbacks, and the command would wait on."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    def check() -> None:
        if seen:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def until_final(
    service: Service,
    batch_id: str,
    progress: Progress,
    *,
    poll: float,
    give_up_after: float | None,
    check: Callable[[], None],
) -> BatchState:
    """
    Args:
        check: raises where it is to end before.
        poll: seconds between two looks; the first ones come sooner, so that a small file's end is
            not seen late by much of its time.
        give_up_after: seconds without an answer; None: never, since the batch goes on meanwhile.

    Raises: ConnectionFailed: no answer for that long; NotFound: the batch is no longer known.
    """
    began, told = time.monotonic(), False
    with service.listening(batch_id) as wait:
        while True:
            state = patiently(lambda: service.state(batch_id), progress, poll, give_up_after)
            progress.show(state)
            if state.final:
                return state
            check()
            pause = (OLD if told else LATE) * (time.monotonic() - began)
            told = wait(min(poll, max(FIRST_PAUSE_S, pause)))


def patiently(
    call: Callable[[], T], progress: Progress, poll: float, give_up_after: float | None
) -> T:
    """Its answer, however long the service is away."""
    since, pause = time.monotonic(), poll
    while True:
        try:
            return call()
        except AWAY as error:
            away = time.monotonic() - since
            if give_up_after is not None and away + pause > give_up_after:
                raise ConnectionFailed(f"no answer for {away:.0f} s: {error}") from None
            progress.away(away)
        time.sleep(pause)
        pause = min(2 * pause, max(poll, LONGEST_PAUSE_S))
