"""How many tokens a batch should have on this device: measured, not guessed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle

import torch

from worker.engine.interface import Layout, OutOfMemory, Pair
from worker.engine.trial import least_times, preferred
from worker.planner import cost

log = logging.getLogger(__name__)

Score = Callable[[Sequence[Pair]], object]

CPU_SIZES = (256, 512, 1_024, 2_048, 4_096)
SMALL = 1_024  # below it matrix products are slower: only where a batch takes too long otherwise
CUDA_SIZES = (2_048, 4_096, 8_192, 16_384, 32_768, 65_536)
ROUNDS, FURTHER_S = 2, 0.5  # by two rounds of a small model chance decides
CPU_AROUND_S = 0.0025  # a batch's planning, marking and handing out, on the cores that score
GAIN = 1.05  # what doubling the batch must win, since a smaller one answers sooner
LONGEST_S = 2.5  # of a batch: others wait behind it
OWN_TOKENS = (320, 40, 160, 24, 96)  # of the trial pairs, in turn
MEMORY_SHARE = 0.8  # of what is free; the rest is for batches of another shape


def measure(score: Score, sample: Pair, layout: Layout, device: torch.device) -> int:
    """Tokens of the smallest batch that is about as fast as any, by trial.

    Args:
        score: scores pairs on the device, as it will be done.
        sample: a long pair; its tokens are what the trial batches consist of.
    """
    fitting = _that_fit(score, sample, layout, device)
    if not fitting:
        return CPU_SIZES[0]
    batches = {n: pairs for n, pairs in fitting.items() if n >= min(SMALL, max(fitting))}
    runs = [partial(score, pairs) for pairs in batches.values()]
    seconds = least_times(runs, ROUNDS, further_s=FURTHER_S)
    around = CPU_AROUND_S if device.type == "cpu" else 0.0  # a GPU works on meanwhile
    # For each of the pairs' own tokens: a small batch computes its prefix for few.
    costs = [
        (taken + around) / sum(len(pair.own) for pair in pairs)
        for pairs, taken in zip(batches.values(), seconds, strict=True)
    ]
    sizes = list(batches)
    log.debug("budgets tried", extra={"s_per_token": dict(zip(sizes, costs, strict=True))})
    return sizes[preferred(costs, GAIN)]


def _that_fit(
    score: Score, sample: Pair, layout: Layout, device: torch.device
) -> dict[int, list[Pair]]:
    """Batches by their size, up to what memory holds and what takes no longer than it may."""
    memory = Memory(device) if device.type == "cuda" else None
    batches: dict[int, list[Pair]] = {}
    for size in CUDA_SIZES if memory else CPU_SIZES:
        if memory is not None and not memory.holds(size):
            break
        pairs = batch(sample, size, layout)
        started = time.perf_counter()
        try:
            score(pairs)
        except OutOfMemory:
            break
        if batches and time.perf_counter() - started > LONGEST_S:
            break
        batches[size] = pairs
        if memory is not None:
            memory.saw(size)
    return batches


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
    """Pairs of one query and of several lengths that cost at most so many tokens, at least one.

    Args:
        sample: none is longer, so that all are within what the model takes.
    """
    pairs: list[Pair] = []
    for own in cycle(OWN_TOKENS):
        longer = [*pairs, Pair(sample.shared, sample.own[-own:])]
        if pairs and cost(longer, layout) > tokens:
            return pairs
        pairs = longer
    raise AssertionError("unreachable")
