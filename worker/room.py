"""How much work one worker holds at once, in tokens: enough to keep its device busy, no more."""

from __future__ import annotations

import threading

PUBLIC_SHARE = 1 / 2  # of the capacity; the rest is the ledger's, however many tasks wait


class Closed(Exception):
    """This worker takes nothing more in."""


class Room:
    """Tokens that may be in flight. The last acquisition may go over, so any size fits alone.

    Args:
        capacity: tokens in all.
        reserve: tokens of them that bulk work leaves to interactive work.
    """

    def __init__(self, capacity: int, reserve: int) -> None:
        self.capacity = capacity
        self.reserve = reserve
        self._held = 0
        self._held_by_tasks = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def free(self) -> int:
        """Negative while the last acquisition went over."""
        return self.capacity - self._held

    @property
    def idle(self) -> bool:
        return self._held == 0

    def take(self, tokens: int) -> None:
        """Count a ledger entry in, at once; the caller has looked at `free`."""
        with self._changed:
            self._held += tokens

    def give_back(self, tokens: int) -> None:
        with self._changed:
            self._held -= tokens
            self._changed.notify_all()

    def admit_task(self, tokens: int, *, bulk: bool) -> None:
        """Wait until a public task may come in, then count it in.

        Raises: Closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has_room_for_a_task(bulk))
            if self._closed:
                raise Closed
            self._held += tokens
            self._held_by_tasks += tokens

    def end_task(self, tokens: int) -> None:
        with self._changed:
            self._held_by_tasks -= tokens
        self.give_back(tokens)

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room_for_a_task(self, bulk: bool) -> bool:
        floor = self.reserve if bulk else 0
        below_share = self._held_by_tasks < PUBLIC_SHARE * self.capacity
        return self.idle or (self.free > floor and below_share)
