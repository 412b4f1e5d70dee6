"""The token budget: where trial batches stop gaining, and what memory teaches."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import pytest
import torch

from worker.budget import LEAST, TokenBudget
from worker.engine import budget
from worker.engine.interface import Layout, OutOfMemory, Pair
from worker.engine.trial import least_times
from worker.planner import cost

SAMPLE = Pair((1,), (2,) * 400)


def found(
    monkeypatch: pytest.MonkeyPatch,
    rates: Sequence[int],
    fits: int = 10**6,
    disturbed: int = 0,
    around_s: float = 0.0,
) -> int:
    """The chosen size on a device that does so many tokens/s in batches of each size.

    Args:
        disturbed: so many first passes of the largest take twice as long.
        around_s: what a batch costs beside its pass.
    """
    monkeypatch.setattr(budget, "CPU_AROUND_S", around_s)
    clock, passes = [0.0], list[int]()
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def score(pairs: Sequence[Pair]) -> None:
        tokens = cost(pairs, Layout.PACKED)
        if tokens > fits:
            raise OutOfMemory
        sizes = zip(budget.CPU_SIZES, rates, strict=True)
        seconds = tokens / next(rate for size, rate in sizes if tokens <= size)
        largest = tokens > budget.CPU_SIZES[-2]
        passes.extend([tokens] if largest else [])
        clock[0] += 2 * seconds if largest and len(passes) <= disturbed else seconds

    return budget.measure(score, SAMPLE, Layout.PACKED, torch.device("cpu"))


def test_the_smallest_that_is_about_as_fast_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, [9_000, 9_000, 50_000, 60_000, 61_000]) == 2_048
    assert found(monkeypatch, [9_000, 9_000, 50_000, 51_000, 40_000]) == 1_024
    assert found(monkeypatch, [9_000, 9_000, 50_000, 40_000, 60_000]) == 4_096


def test_what_is_around_a_pass_counts_where_passes_are_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert found(monkeypatch, [50_000] * 5, around_s=0.0) == 1_024
    assert found(monkeypatch, [50_000] * 5, around_s=0.0025) == 2_048
    assert found(monkeypatch, [50_000] * 5, around_s=0.005) == 4_096
    assert found(monkeypatch, [2_000] * 5, around_s=0.005) == 1_024


def test_a_moment_s_noise_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = [9_000, 9_000, 50_000, 51_000, 60_000]
    assert found(monkeypatch, rates, disturbed=1 + budget.ROUNDS) == 4_096


def test_a_slow_device_is_not_tried_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, passes = [0.0], list[int]()
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def rounds(seconds: float) -> int:
        passes.clear()

        def run() -> None:
            passes.append(1)
            clock[0] += seconds

        least_times([run], budget.ROUNDS, further_s=budget.FURTHER_S)
        return len(passes)

    assert rounds(1.1 * budget.FURTHER_S) == budget.ROUNDS
    assert rounds(0.3 * budget.FURTHER_S) == budget.ROUNDS + 3


def test_no_batch_takes_much_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, [80, 100, 120, 120, 120]) == 256
    assert found(monkeypatch, [240, 240, 280, 280, 280]) == 512


def test_what_does_not_fit_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = [50_000, 60_000, 70_000, 90_000, 99_000]
    assert found(monkeypatch, rates, fits=3_000) == 2_048
    assert found(monkeypatch, rates, fits=100) == 256


def test_a_trial_batch_costs_what_it_is_called_after() -> None:
    for layout in Layout:
        for size in budget.CPU_SIZES[1:]:
            assert size * 0.5 < cost(budget.batch(SAMPLE, size, layout), layout) <= size


def test_a_refused_batch_halves_the_budget_and_full_ones_let_it_grow_back() -> None:
    learned = TokenBudget(4_096)
    learned.refuse(4_000)
    assert learned.tokens == 2_000
    learned.accept(900)  # not full: it says nothing
    assert learned.tokens == 2_000
    learned.accept(1_900)
    assert learned.tokens == 2_016
    for _ in range(1_000):
        learned.accept(learned.tokens)
    assert learned.tokens == 4_096


def test_the_budget_keeps_a_least() -> None:
    learned = TokenBudget(4_096)
    learned.refuse(3)
    assert learned.tokens == LEAST
    tiny = TokenBudget(100)
    tiny.refuse(3)
    assert tiny.tokens == 100


def test_a_long_prefix_wants_a_larger_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SAMPLE", Pair((1,) * 300, (2,) * 400))
    assert found(monkeypatch, [50_000] * 5) > 1_024
