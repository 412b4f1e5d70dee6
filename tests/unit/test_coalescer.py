"""The coalescer with an engine that waits for us: what is batched, dropped, failed, handed back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankq.status import Lane
from tests.conftest import eventually
from tests.held_engine import NAN, POISON, HeldEngine, pair
from worker.coalescer import Coalescer
from worker.engine.interface import Pair, PairFailed
from worker.work import Draining, Work, alive, works_of


@pytest.fixture
def engine() -> HeldEngine:
    return HeldEngine()


Gate = Callable[[list[Work]], list[Work]]


@pytest.fixture
def gates() -> list[Gate]:
    """What is asked before a launch for what is gone; empty: everything may go."""
    return []


@pytest.fixture
def coalescer(engine: HeldEngine, gates: list[Gate]) -> Iterator[Coalescer]:
    def before_launch(works: list[Work]) -> list[Work]:
        return [work for gate in gates for work in gate(works)]

    coalescer = Coalescer(engine, before_launch=before_launch)
    coalescer.start()
    yield coalescer
    for _ in range(1000):
        engine.go.release()
    coalescer.drain()


ended: list[Work] = []


@pytest.fixture(autouse=True)
def _nothing_ended() -> None:
    ended.clear()


def work(*tokens: int, order: float = 0.0, job: str = "j", lane: Lane = Lane.INTERACTIVE) -> Work:
    return Work("e", job, [pair(token) for token in tokens], order, ended.append, lane)


def run(engine: HeldEngine, batches: int) -> None:
    for _ in range(batches):
        engine.entered.get(timeout=5)
        engine.go.release()


def test_scores_come_back_to_their_own_work(engine: HeldEngine, coalescer: Coalescer) -> None:
    one, two = work(1, 2, 3), work(4, 5)
    coalescer.submit(one)
    coalescer.submit(two)
    for _ in range(10):
        engine.go.release()
    eventually(lambda: len(ended) == 2, 5)
    assert (one.scores, two.scores) == ([1.0, 2.0, 3.0], [4.0, 5.0])


def test_an_idle_device_never_waits_and_the_next_batch_takes_what_came_meanwhile(
    engine: HeldEngine, coalescer: Coalescer
) -> None:
    coalescer.submit(work(1))
    engine.entered.get(timeout=5)  # at once, though the batch is far from full
    coalescer.submit(work(2))
    eventually(lambda: coalescer.device.inbox.qsize() == 1, 5)
    for n in range(3, 8):
        coalescer.submit(work(n, job=str(n)))
    engine.go.release()
    run(engine, 2)
    eventually(lambda: len(ended) == 7, 5)
    # Exactly one was formed ahead; the rest shares the one after it.
    assert [sorted(batch) for batch in engine.batches] == [[1], [2], [3, 4, 5, 6, 7]]


def test_urgent_work_goes_before_what_waits(engine: HeldEngine, coalescer: Coalescer) -> None:
    coalescer.submit(work(0))
    engine.entered.get(timeout=5)
    coalescer.submit(work(1))
    eventually(lambda: coalescer.device.inbox.qsize() == 1, 5)
    coalescer.submit(work(*range(100, 130), order=50.0))
    coalescer.submit(work(7, order=10.0))
    engine.go.release()
    run(engine, 2)
    eventually(lambda: len(engine.batches) == 3, 5)
    assert 7 in engine.batches[2]


def test_bulk_work_of_long_ago_lets_interactive_work_pass(
    engine: HeldEngine, coalescer: Coalescer
) -> None:
    coalescer.submit(work(*range(100, 150), order=-1e9, lane=Lane.BULK))
    engine.entered.get(timeout=5)
    eventually(lambda: coalescer.device.inbox.qsize() == 1, 5)
    coalescer.submit(work(7))
    engine.go.release()
    run(engine, 2)
    eventually(lambda: len(engine.batches) == 3, 5)
    assert 7 in engine.batches[2]


def test_bulk_work_has_its_turns_however_much_interactive_work_comes(
    engine: HeldEngine, coalescer: Coalescer
) -> None:
    coalescer.submit(work(*range(1000, 1400)))
    engine.entered.get(timeout=5)
    coalescer.submit(work(*range(100, 150), order=1.0, lane=Lane.BULK))
    engine.go.release()
    run(engine, 30)
    eventually(lambda: len(engine.batches) == 32, 5)
    led = [n for n, batch in enumerate(engine.batches) if batch[0] < 1000]
    assert len(led) in (3, 4)  # batches of ten; one in eight of those that came after it
    assert led[0] <= 10


def test_equal_pairs_are_scored_once_and_cost_the_batch_nothing(
    engine: HeldEngine, coalescer: Coalescer
) -> None:
    coalescer.submit(work(0))
    engine.entered.get(timeout=5)
    coalescer.submit(work(0))
    eventually(lambda: coalescer.device.inbox.qsize() == 1, 5)
    works = [work(*range(10), *range(10), job=str(n)) for n in range(3)]
    for each in works:
        coalescer.submit(each)
    engine.go.release()
    run(engine, 2)
    eventually(lambda: len(ended) == 5, 5)
    assert [len(batch) for batch in engine.batches] == [1, 1, 10]  # sixty pairs, ten to score
    assert all(each.scores == [float(token % 10) for token in range(20)] for each in works)


def test_what_is_dropped_after_forming_takes_no_equal_pair_along(
    engine: HeldEngine, coalescer: Coalescer
) -> None:
    coalescer.submit(work(0))
    engine.entered.get(timeout=5)
    with coalescer._changed:
        gone, kept = work(1, 2), work(1)
        coalescer.submit(gone)
        coalescer.submit(kept)
    eventually(lambda: coalescer.device.inbox.qsize() == 1, 5)
    coalescer.drop([gone])
    engine.go.release()
    run(engine, 1)
    eventually(lambda: ended[1:] == [kept], 5)
    assert engine.batches == [[0], [1]]
    assert kept.scores == [1.0]


def test_bulk_pairs_equal_to_urgent_ones_bring_no_others_forward(engine: HeldEngine) -> None:
    coalescer = Coalescer(engine, before_launch=lambda _: [])
    urgent = Work("e", "j", [Pair((), (1,) * 10), Pair((), (2,) * 20)], 0.0, ended.append)
    coalescer.submit(work(*range(12), lane=Lane.BULK))
    coalescer.submit(urgent)
    batch = coalescer._next_batch()
    assert batch is not None
    assert {item.index for same in batch for item in same if item.work is urgent} == {0, 1}
    assert sorted(map(len, batch)) == [1, 1, 1, 1, 2]  # five rows of twenty, twins in one


some_works = st.lists(
    st.tuples(
        st.lists(st.sampled_from([*range(12), POISON]), min_size=1, max_size=8),
        st.sampled_from(Lane),
        st.integers(0, 3),
        st.sampled_from([False, False, False, True]),  # gone when its first batch is formed
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=50)
@given(asked=some_works)
def test_however_pairs_repeat_each_work_has_its_own_scores_in_order(
    asked: list[tuple[list[int], Lane, int, bool]],
) -> None:
    engine = HeldEngine()
    engine.go = threading.Semaphore(10_000)
    works = [work(*tokens, lane=lane, order=order) for tokens, lane, order, _ in asked]
    drops = {id(each) for each, (*_, drop) in zip(works, asked, strict=True) if drop}
    coalescer = Coalescer(engine, before_launch=lambda _: [])
    for each in works:
        coalescer.submit(each)
    while any(not item.work.gone for item in coalescer._waiting):
        batch = coalescer._next_batch()
        assert batch is not None
        coalescer.drop(each for each in works_of(batch) if id(each) in drops)
        if left := alive(batch):
            coalescer.device.score(left)
    for each, (tokens, *_) in zip(works, asked, strict=True):
        if id(each) not in drops:
            assert (each.error is not None) == (POISON in tokens)
            assert each.error is not None or each.scores == tokens
    assert all(len(batch) == len(set(batch)) for batch in engine.batches)


@pytest.mark.parametrize("bad", [POISON, NAN])
def test_one_pair_s_error_fails_its_own_work_only(
    bad: int, engine: HeldEngine, coalescer: Coalescer
) -> None:
    coalescer.submit(work(0))
    engine.entered.get(timeout=5)
    good, broken = work(1, 2, 3), work(4, bad, 5)
    coalescer.submit(good)
    coalescer.submit(broken)
    for _ in range(100):
        engine.go.release()
    eventually(lambda: len(ended) == 3, 5)
    assert good.error is None
    assert good.scores == [1.0, 2.0, 3.0]
    assert isinstance(broken.error, PairFailed)
    assert "document 1:" in broken.error.problem.detail
    assert isinstance(broken.error.__cause__, RuntimeError | ArithmeticError)


def test_what_is_gone_before_the_launch_is_not_scored(
    engine: HeldEngine, coalescer: Coalescer, gates: list[Gate]
) -> None:
    gone, kept = work(1, 2), work(3)
    gates.append(lambda _: [gone])
    coalescer.submit(gone)
    coalescer.submit(kept)
    run(engine, 1)
    eventually(lambda: ended == [kept], 5)
    assert engine.batches == [[3]]


def test_dropped_work_is_not_scored_even_if_it_was_formed(
    engine: HeldEngine, coalescer: Coalescer
) -> None:
    coalescer.submit(work(0))
    engine.entered.get(timeout=5)
    formed, waiting = work(1), work(2)
    coalescer.submit(formed)
    eventually(lambda: coalescer.device.inbox.qsize() == 1, 5)
    coalescer.submit(waiting)
    coalescer.drop([formed, waiting])
    coalescer.submit(work(3))
    engine.go.release()
    run(engine, 1)
    eventually(lambda: len(ended) == 2, 5)
    assert engine.batches == [[0], [3]]


def test_a_batch_that_fails_counts_as_no_work(engine: HeldEngine, coalescer: Coalescer) -> None:
    broken = work(POISON)
    engine.go.release()
    coalescer.submit(broken)
    eventually(lambda: ended == [broken], 5)
    assert coalescer.device.rate.tokens_per_s == 0
    assert coalescer.device.busy_s == 0


def test_drain_ends_the_batch_on_the_device_and_hands_the_rest_back(
    engine: HeldEngine, coalescer: Coalescer
) -> None:
    on_device, formed, waiting = work(0), work(1), work(*range(2, 40))
    coalescer.submit(on_device)
    engine.entered.get(timeout=5)
    coalescer.submit(formed)
    eventually(lambda: coalescer.device.inbox.qsize() == 1, 5)
    coalescer.submit(waiting)
    drain = threading.Thread(target=coalescer.drain)
    drain.start()
    eventually(lambda: coalescer._stopping, 5)
    with pytest.raises(Draining):
        coalescer.submit(work(99))
    engine.go.release()
    drain.join(5)
    assert on_device.error is None
    assert isinstance(formed.error, Draining)
    assert isinstance(waiting.error, Draining)
    assert engine.batches == [[0]]
