"""Ranking is by log-odds; probabilities are only shown."""

import pytest

from rerankq.scores import best_first, shown, sigmoid


def test_order_survives_where_probabilities_saturate() -> None:
    log_odds = [40.0, 41.0, 39.0]
    assert len({sigmoid(x) for x in log_odds}) == 1
    assert best_first(log_odds) == [1, 0, 2]


def test_ties_go_by_index_and_top_n_is_clipped() -> None:
    assert best_first([1.0, 2.0, 2.0, 1.0]) == [1, 2, 0, 3]
    assert best_first([1.0, 2.0], 1) == [1]
    assert best_first([1.0, 2.0], 10) == [1, 0]


@pytest.mark.parametrize(("x", "p"), [(0.0, 0.5), (-800.0, 0.0), (800.0, 1.0), (2.0, 0.880797078)])
def test_sigmoid(x: float, p: float) -> None:
    assert sigmoid(x) == pytest.approx(p)
    assert shown(x, raw=True) == x
