"""A batch divided over the cores: nothing lost, nothing twice, and no core waits long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.interface import Layout, Pair
from worker.planner import spread

PREFIXES = [(1,) * 30, (2,) * 5, ()]
PAIRS = st.lists(
    st.builds(lambda p, n: Pair(PREFIXES[p], (7,) * n), st.integers(0, 2), st.integers(1, 200)),
    min_size=1,
    max_size=40,
)


@given(PAIRS, st.integers(1, 9), st.sampled_from(Layout))
def test_every_pair_is_in_one_part(pairs: list[Pair], lanes: int, layout: Layout) -> None:
    parts = spread(pairs, lanes, layout)
    assert sorted(i for part in parts for i in part) == list(range(len(pairs)))
    assert 1 <= len(parts) <= lanes
    assert all(parts)


@given(PAIRS, st.integers(1, 9))
def test_no_part_costs_more_than_its_share_by_more_than_one_pair(
    pairs: list[Pair], lanes: int
) -> None:
    parts = spread(pairs, lanes, Layout.PACKED)
    costs = [sum(len(pairs[i].own) for i in part) for part in parts]
    longest = max(len(pair.own) for pair in pairs)
    assert max(costs) <= sum(costs) / lanes + longest


def test_pairs_that_share_a_prefix_stay_together_where_that_balances() -> None:
    one, other = PREFIXES[0], PREFIXES[1]
    pairs = [Pair(one, (7,) * 50), Pair(other, (7,) * 50)] * 4
    parts = spread(pairs, 2, Layout.PACKED)
    assert sorted(map(len, parts)) == [4, 4]
    assert {len({id(pairs[i].shared) for i in part}) for part in parts} == {1}
