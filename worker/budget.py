"""The token budget as memory allows it: halved when a batch does not fit, grown back slowly."""

from __future__ import annotations

LEAST = 256
GROWTH = 1 / 256  # of the measured budget, with each full batch that fits


class TokenBudget:
    """Attributes: tokens: of the next batch."""

    def __init__(self, measured: int) -> None:
        self._measured = measured
        self.tokens = measured

    def refuse(self, cost: int) -> None:
        """A batch that cost so many tokens did not fit."""
        self.tokens = min(self.tokens, max(min(LEAST, self._measured), cost // 2))

    def accept(self, cost: int) -> None:
        """A batch that cost so many tokens was scored; only a full one tells anything."""
        if 2 * cost >= self.tokens:
            self.tokens = min(self._measured, self.tokens + max(1, int(GROWTH * self._measured)))
