"""The planner fills the budget with little padding and passes nobody over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engine.interface import Layout, Pair
from worker.planner import cost, plan

QUERIES = [tuple(range(n)) for n in (8, 30, 70)]

pairs = st.lists(
    st.builds(
        lambda query, own: Pair(QUERIES[query], tuple(range(own))),
        st.integers(0, 2),
        st.integers(1, 400),
    ),
    min_size=1,
    max_size=60,
)


@pytest.mark.parametrize("layout", Layout)
@given(waiting=pairs, budget=st.integers(1, 4096))
def test_batch_holds_the_first_pair_and_keeps_the_budget(
    layout: Layout, waiting: list[Pair], budget: int
) -> None:
    chosen = plan(waiting, budget, layout)
    assert 0 in chosen
    assert len(set(chosen)) == len(chosen)
    batch = [waiting[i] for i in chosen]
    assert cost(batch, layout) <= budget or len(batch) == 1
    assert [p.length for p in batch] == sorted((p.length for p in batch), reverse=True)


@pytest.mark.parametrize("layout", Layout)
@given(waiting=pairs, budget=st.integers(64, 2048))
def test_everyone_is_scored_in_the_end(layout: Layout, waiting: list[Pair], budget: int) -> None:
    left = list(range(len(waiting)))
    for _ in range(len(waiting)):
        if not left:
            break
        chosen = {left[i] for i in plan([waiting[i] for i in left], budget, layout)}
        left = [i for i in left if i not in chosen]
    assert not left


def test_padded_groups_neighbours_by_length() -> None:
    waiting = [Pair((), tuple(range(n))) for n in (100, 500, 101, 99, 499, 10)]
    assert sorted(plan(waiting, 303, Layout.PADDED)) == [0, 2, 3]


def test_padded_batch_is_full_when_enough_is_there() -> None:
    waiting = [Pair((), tuple(range(50)))] * 100
    assert len(plan(waiting, 2048, Layout.PADDED)) == 2048 // 50


@pytest.mark.parametrize("layout", Layout)
@given(waiting=pairs, budget=st.integers(64, 1024), data=st.data())
def test_those_that_lead_are_planned_as_if_alone(
    layout: Layout, waiting: list[Pair], budget: int, data: st.DataObject
) -> None:
    leading = data.draw(st.integers(1, len(waiting)))
    alone = plan(waiting[:leading], budget, layout)
    chosen = plan(waiting, budget, layout, leading)
    assert set(alone) == {i for i in chosen if i < leading}
    batch = [waiting[i] for i in chosen]
    assert cost(batch, layout) <= budget or len(batch) == 1


@given(waiting=pairs, budget=st.integers(64, 4096), data=st.data())
def test_padded_fills_what_those_that_lead_leave(
    waiting: list[Pair], budget: int, data: st.DataObject
) -> None:
    leading = data.draw(st.integers(1, len(waiting)))
    alone = plan(waiting[:leading], budget, Layout.PADDED)
    chosen = plan(waiting, budget, Layout.PADDED, leading)
    batch = [waiting[i] for i in chosen]
    longest = max(waiting[i].length for i in alone)
    assert longest == batch[0].length
    left = [p for i, p in enumerate(waiting) if i >= leading and i not in chosen]
    if sum(p.length for p in waiting) <= budget and left:  # or the lookahead may end before them
        assert min(p.length for p in left) > longest or longest * (len(batch) + 1) > budget


def test_packed_pays_a_shared_prefix_once() -> None:
    shared = tuple(range(70))
    batch = [Pair(shared, tuple(range(10))) for _ in range(3)]
    assert cost(batch, Layout.PACKED) == 70 + 30
    assert cost(batch, Layout.PADDED) == 3 * 80


def test_packed_prefers_the_first_pairs_query() -> None:
    one, two = QUERIES[1], QUERIES[2]
    waiting = [Pair(q, tuple(range(20))) for q in (one, two, one, two, one)]
    assert sorted(plan(waiting, 30 + 3 * 20, Layout.PACKED)) == [0, 2, 4]


def test_packed_lets_no_shared_prefix_push_those_that_lead_aside() -> None:
    one, two = QUERIES[1], QUERIES[2]
    waiting = [Pair(q, tuple(range(20))) for q in (one, two, one, one)]
    both_lead = 30 + 20 + 70 + 20
    assert sorted(plan(waiting, both_lead, Layout.PACKED, 2)) == [0, 1]
    assert sorted(plan(waiting, both_lead + 20, Layout.PACKED, 2)) == [0, 1, 2]


def test_packed_fills_up_with_pairs_whose_prefix_is_paid() -> None:
    one, two = QUERIES[1], QUERIES[0]
    waiting = [Pair(q, tuple(range(20))) for q in (one, two, one)]
    assert sorted(plan(waiting, 30 + 2 * 20, Layout.PACKED, 1)) == [0, 2]


def test_a_pair_over_the_budget_goes_alone() -> None:
    waiting = [Pair((), tuple(range(5000))), Pair((), (1,))]
    assert plan(waiting, 2048, Layout.PADDED) == [0]
