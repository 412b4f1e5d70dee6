"""How much work one worker holds at once, in tokens: enough to keep its device busy, no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PUBLIC_SHARE = 1 / 2  # of the capacity; the rest is the ledger's, however many tasks wait


class Closed(Exception):
    """This worker takes nothing more in."""


class Room:
    """Tokens that may be in flight, of ledger entries and of public tasks.

    Public tasks have a share of their own: their messages are this worker's already, so making them
    wait for ledger entries would help no other worker. The last acquisition of either kind may go
    over, so that any size fits; what tasks go over is not taken from the ledger, or a flood of
    large ones would shut it out.

    Args:
        capacity: tokens in all.
        reserve: tokens of them that bulk work leaves to interactive work.
    """

    def __init__(self, capacity: int, reserve: int) -> None:
        self.capacity = capacity
        self.reserve = reserve
        self._tasks_share = int(PUBLIC_SHARE * capacity)
        self._held = 0
        self._held_by_tasks = 0
        self._alone = False
        self._closed = False
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """For ledger entries; negative while the last one went over."""
        return self.capacity - self._held - min(self._held_by_tasks, self._tasks_share)

    @property
    def idle(self) -> bool:
        """No ledger entry is held."""
        return self._held == 0

    def take(self, tokens: int) -> None:
        """Count a ledger entry in, at once; the caller has looked at `free`."""
        with self._changed:
            self._held += tokens

    @property
    def empty(self) -> bool:
        """Nothing is held, nor waited for to be alone."""
        return self._held == 0 and self._held_by_tasks == 0 and not self._alone

    def wait_for_change(self, seconds: float) -> None:
        """Until something is given back, at most so long.

        Raises: Closed.
        """
        with self._changed:
            self._changed.wait(seconds)
            if self._closed:
                raise Closed

    def wait_until(self, condition: Callable[[], bool], seconds: float | None = None) -> None:
        """At most so long, if it is given; looked at when something is given back and at `nudge`.

        Raises: Closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or condition(), seconds)
            if self._closed:
                raise Closed

    def nudge(self) -> None:
        """What somebody waits for here may have come about."""
        with self._changed:
            self._changed.notify_all()

    def give_back(self, tokens: int) -> None:
        with self._changed:
            self._held -= tokens
            self._changed.notify_all()

    def admit_task(self, tokens: int, *, bulk: bool) -> None:
        """Wait until a public task may come in, then count it in.

        Raises: Closed.
        """
        share = self._tasks_share - (self.reserve if bulk else 0)
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (not self._alone and self._held_by_tasks < max(1, share))
            )
            if self._closed:
                raise Closed
            self._held_by_tasks += tokens

    def end_task(self, tokens: int) -> None:
        with self._changed:
            self._held_by_tasks -= tokens
            self._changed.notify_all()

    @contextmanager
    def emptied(self) -> Iterator[None]:
        """Wait until nothing is held and let no task in meanwhile.

        Raises: Closed.
        """
        with self._changed:
            self._alone = True
        try:
            self.wait_until_empty()
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()

    def wait_until_empty(self) -> None:
        """Raises: Closed."""
        self.wait_until(lambda: self._held == 0 and self._held_by_tasks == 0)

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
