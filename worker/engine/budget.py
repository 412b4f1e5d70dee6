"""How many tokens a batch should have on this device: measured, not guessed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import torch

from worker.engine.interface import Layout, OutOfMemory, Pair
from worker.planner import cost

log = logging.getLogger(__name__)

Score = Callable[[Sequence[Pair]], object]

CPU_SIZES = (512, 1_024, 2_048, 4_096)
CUDA_SIZES = (2_048, 4_096, 8_192, 16_384, 32_768, 65_536)
ROUNDS = 3
GAIN = 1.04  # what doubling the batch must win, since a smaller one answers sooner
LONGEST_S = 1.0  # of a batch: others wait behind it
OWN_TOKENS = 128  # of each trial pair
MEMORY_SHARE = 0.8  # of what is free; the rest is for batches of another shape


def measure(score: Score, sample: Pair, layout: Layout, device: torch.device) -> int:
    """Tokens of the smallest batch that is about as fast as any, by trial.

    Args:
        score: scores pairs on the device, as it will be done.
        sample: its tokens are what the trial batches consist of.
    """
    memory = Memory(device) if device.type == "cuda" else None
    chosen, best = 0, 0.0
    for size in CUDA_SIZES if memory else CPU_SIZES:
        pairs = batch(sample, size, layout)
        if memory is not None and not memory.holds(size):
            break
        try:
            seconds = min(_seconds(score, pairs) for _ in range(ROUNDS))
        except OutOfMemory:
            break
        rate = cost(pairs, layout) / seconds
        log.debug("budget tried", extra={"tokens": size, "tokens_per_s": round(rate)})
        if rate < GAIN * best:
            break
        chosen, best = size, rate
        if seconds > LONGEST_S:
            break
        if memory is not None:
            memory.saw(size)
    return chosen or CPU_SIZES[0]


class Memory:
    """What a batch takes on the device as a + b x tokens, by the last two that were tried."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._peaks: list[tuple[int, int]] = []
        self._free, _ = torch.cuda.mem_get_info(device)

    def holds(self, tokens: int) -> bool:
        """Whether a batch of so many tokens should fit; the first two are only tried."""
        if len(self._peaks) < 2:
            return True
        (small, little), (large, much) = self._peaks[-2:]
        slope = (much - little) / (large - small)
        return much + slope * (tokens - large) <= MEMORY_SHARE * self._free

    def saw(self, tokens: int) -> None:
        """Note the peak since the last call."""
        peak = torch.cuda.max_memory_allocated(self._device)
        self._peaks.append((tokens, peak - torch.cuda.memory_allocated(self._device)))
        torch.cuda.reset_peak_memory_stats(self._device)


def batch(sample: Pair, tokens: int, layout: Layout) -> list[Pair]:
    """Pairs of one query that cost about so many tokens."""
    pair = Pair(sample.shared, (sample.own * OWN_TOKENS)[-OWN_TOKENS:])
    each = OWN_TOKENS if layout is Layout.PACKED else pair.length
    return [pair] * max(1, (tokens - len(sample.shared)) // each)


def _seconds(score: Score, pairs: Sequence[Pair]) -> float:
    started = time.perf_counter()
    score(pairs)
    return time.perf_counter() - started
