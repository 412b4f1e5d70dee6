"""One line on a terminal that says how far a batch is."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from rerankq.bulk.command.state import BatchState

WINDOW_S = 30.0  # over which a rate is measured
REDRAWN_S = 0.1

_AT = {
    "validating": "reading the input",
    "finalizing": "writing the output",
    "cancelling": "writing what was scored",
}


class Progress:
    """Says nothing: for files, pipes and `--quiet`."""

    def sent(self, share: float) -> None:
        """Args: share: of a file that is uploaded."""

    def show(self, state: BatchState) -> None: ...

    def away(self, seconds: float) -> None:
        """No answer for so long."""

    def clear(self) -> None:
        """Leave the line to others."""


class Bar(Progress):
    """Draws the line over itself."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._seen: deque[tuple[float, int, int]] = deque()  # time, pairs, chunks done
        self._drawn = float("-inf")

    def sent(self, share: float) -> None:
        if share >= 1 or self._clock() - self._drawn > REDRAWN_S:
            self._draw(f"sending the input  {share:4.0%}")

    def show(self, state: BatchState) -> None:
        now = self._clock()
        self._seen.append((now, state.pairs, state.done))
        while len(self._seen) > 2 and now - self._seen[0][0] > WINDOW_S:
            self._seen.popleft()
        self._draw("  ".join(self._words(state)))

    def away(self, seconds: float) -> None:
        self._draw(f"no answer for {duration(seconds)}; the batch goes on")

    def clear(self) -> None:
        if self._drawn > float("-inf"):
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = float("-inf")

    def _words(self, state: BatchState) -> list[str]:
        pairs_per_s, chunks_per_s = self._rates()
        words = [state.id]
        if state.chunks:
            words.append(f"{state.done / state.chunks:4.0%}")
        words.append(f"{state.pairs:,} pairs")
        if pairs_per_s:
            words.append(f"{pairs_per_s:,.0f} pairs/s")
        if chunks_per_s and state.chunks > state.done:
            words.append(f"ETA {duration((state.chunks - state.done) / chunks_per_s)}")
        if state.bad:
            words.append(f"{state.bad:,} bad")
        if state.phase in _AT:
            words.append(_AT[state.phase])
        return words

    def _rates(self) -> tuple[float, float]:
        """Pairs and chunks a second; 0 until two looks show any."""
        (then, pairs, done), (now, pairs_now, done_now) = self._seen[0], self._seen[-1]
        passed = now - then
        if passed <= 0:
            return 0.0, 0.0
        return (pairs_now - pairs) / passed, (done_now - done) / passed

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns
        self._stream.write(f"\r\x1b[K{text[: width - 1]}")
        self._stream.flush()
        self._drawn = self._clock()


def duration(seconds: float) -> str:
    """As 42 s, 07:30 or 12:07:30."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
