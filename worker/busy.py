"""How busy the device was over the last minute, which is what an autoscaler goes by.

Not over the last second: an autoscaler takes the highest of what it saw for minutes, and in some
second of these even a device that works a third of its time is never idle.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 60.0


class BusyMinute:
    """A mean, from the running total of the seconds that the device worked."""

    def __init__(self, now: float) -> None:
        self._looks = deque([(now, 0.0)])

    def look(self, now: float, busy_s: float) -> float:
        """The share of the last minute, or of all the time there was, as of now; 0 to 1."""
        self._looks.append((now, busy_s))
        while len(self._looks) > 2 and self._looks[1][0] <= now - WINDOW_S:
            self._looks.popleft()
        since, before = self._looks[0]
        # A batch counts when it ends, so that a window may have more than its own.
        return min(1.0, (busy_s - before) / (now - since))
