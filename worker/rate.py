"""How many tokens a second the device scores: learned from the batches that have ended."""

from __future__ import annotations

MEMORY = 0.9  # of what was learned before, at each full batch


class Rate:
    """Attributes: tokens_per_s: 0 while none is known."""

    def __init__(self) -> None:
        self.tokens_per_s = 0.0
        self._tokens = self._seconds = 0.0  # of full batches, the last ones above all

    def learn(self, tokens: int, seconds: float, *, full: bool, alone: bool) -> None:
        """
        Args:
            seconds: that the batch kept the device longer than the one ahead of it.
            full: at least half full; one that is far from it only says what the device can do at
                least.
            alone: the one ahead had ended when it was started. Else it was scored in part, or
                wholly, while that one was, and what it took by itself is not known.
        """
        if full and (alone or self._seconds):
            # Sums, not a mean of rates: a batch that took none of its own would count for all.
            self._tokens = MEMORY * self._tokens + tokens
            self._seconds = MEMORY * self._seconds + seconds
            self.tokens_per_s = self._tokens / max(self._seconds, 1e-6)
        elif alone and not self._seconds:
            self.tokens_per_s = max(self.tokens_per_s, tokens / max(seconds, 1e-6))
