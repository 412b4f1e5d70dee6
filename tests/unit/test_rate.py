"""What a worker believes of its speed, of which a job's place in the queue is made."""

from __future__ import annotations

import pytest

from worker.rate import Rate


def test_it_is_learned_from_full_batches() -> None:
    rate = Rate()
    for tokens in (10, 5):
        rate.learn(tokens, 1.0, full=False, alone=True)
    assert rate.tokens_per_s == 10, "as long as nothing better is known"
    rate.learn(1000, 1.0, full=True, alone=True)
    assert rate.tokens_per_s == 1000
    rate.learn(10, 1.0, full=False, alone=True)
    assert rate.tokens_per_s == 1000
    for _ in range(50):
        rate.learn(2000, 1.0, full=True, alone=True)
    assert rate.tokens_per_s == pytest.approx(2000, rel=0.01)


@pytest.mark.parametrize("full", [False, True])
def test_a_batch_that_was_scored_beside_another_tells_nothing_by_itself(full: bool) -> None:
    rate = Rate()
    rate.learn(1000, 1.0, full=False, alone=True)
    rate.learn(1000, 1e-6, full=full, alone=False)
    assert rate.tokens_per_s == 1000


def test_of_batches_side_by_side_the_sums_tell() -> None:
    rate = Rate()
    for _ in range(50):
        rate.learn(1000, 1.9, full=True, alone=True)
        rate.learn(1000, 0.1, full=True, alone=False)
    assert rate.tokens_per_s == pytest.approx(1000, rel=0.1)
