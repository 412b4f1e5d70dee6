"""Whose turn it is while both lanes have work."""

from __future__ import annotations

from rerankq.status import Lane

BULK_SHARE = 1 / 8  # of the tokens, while both lanes have work


class Turns:
    """One token in eight goes to bulk, the others to interactive work.

    Args:
        batch: tokens bulk must be owed before it is let in; one batch, so that a turn is worth it.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._owed = 0.0

    @property
    def bulk(self) -> bool:
        return self._owed >= self._batch

    def count(self, lane: Lane, tokens: int, bulk_waits: bool) -> None:
        if lane is Lane.BULK:
            # Bounded below, or an idle hour's bulk work would be held against it later.
            self._owed = max(self._owed - tokens, -self._batch)
        elif bulk_waits:
            # Bounded above, or what bulk could not use in an hour would shut the other lane out.
            owed = self._owed + tokens * BULK_SHARE / (1 - BULK_SHARE)
            self._owed = min(owed, 2 * self._batch)
