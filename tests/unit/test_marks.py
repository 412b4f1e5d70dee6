"""What the ledger is told before a batch goes on the device."""

from __future__ import annotations

import time
from unittest.mock import MagicMock

import pytest
import redis

from rerankq.ledger.calls import Holder
from worker.engine.interface import Pair
from worker.holdings import Holdings
from worker.marks import FRESH_S, Marks
from worker.room import Room
from worker.work import Work


@pytest.fixture
def ledger() -> MagicMock:
    return MagicMock(**{"run.return_value": set()})


@pytest.fixture
def dropped() -> list[set[str]]:
    return []


@pytest.fixture
def holdings() -> Holdings:
    held = Holdings(Room(1_000, reserve=0))
    held.add("a", 1)
    held.add("b", 1)
    return held


@pytest.fixture
def marks(ledger: MagicMock, holdings: Holdings, dropped: list[set[str]]) -> Marks:
    return Marks(ledger, holdings, Holder("w", "model", 30_000), drop=dropped.append)


def work(entry: str, marked: float = 0.0) -> Work:
    return Work(entry, entry, [Pair((1,), (2,))], 0.0, lambda _: None, marked=marked)


def told(ledger: MagicMock) -> list[str]:
    """The entries of all calls since the last look, behind worker, lease and mark."""
    entries = [entry for call in ledger.run.call_args_list for entry in call[0][0].args[3:]]
    ledger.run.reset_mock()
    return entries


def test_what_the_take_marked_is_not_marked_again_for_its_first_batch(
    marks: Marks, ledger: MagicMock
) -> None:
    marked = work("a", time.monotonic())
    marks.before_launch([marked])
    assert told(ledger) == []
    marks.before_launch([marked, work("b")])
    assert told(ledger) == ["a", "b"], "its second batch asks whether it is gone"


def test_an_entry_of_many_batches_is_marked_once_a_second(
    marks: Marks, ledger: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    for _ in range(40):  # four seconds
        marks.before_launch([work("a"), work("a")])
        clock[0] += FRESH_S / 10
    assert 4 <= len(told(ledger)) <= 5


def test_what_was_given_up_is_asked_for_though_it_was_just_marked(
    marks: Marks, ledger: MagicMock, holdings: Holdings
) -> None:
    marks.before_launch([work("a"), work("b")])
    assert told(ledger) == ["a", "b"]
    holdings.remove(["a"])  # it was cancelled, and its chunk does not know yet
    marks.before_launch([work("a"), work("b")])
    assert told(ledger) == ["a"]
    holdings.add("a", 1)  # or handed back, and taken again
    marks.before_launch([work("a"), work("b")])
    assert told(ledger) == ["a"]


def test_a_mark_that_redis_may_not_have_is_tried_again(marks: Marks, ledger: MagicMock) -> None:
    ledger.run.side_effect = redis.ConnectionError
    marks.before_launch([work("a")])
    marks.before_launch([work("a")])
    assert told(ledger) == ["a", "a"]


def test_others_of_its_batch_are_marked(marks: Marks, ledger: MagicMock) -> None:
    marks.before_launch([work("a", time.monotonic()), work("b")])
    assert told(ledger) == ["b"]


def test_after_a_pause_the_takes_mark_says_nothing(marks: Marks, ledger: MagicMock) -> None:
    marks.before_launch([work("a", time.monotonic() - FRESH_S - 0.1)])
    assert told(ledger) == ["a"]


def test_what_is_gone_is_dropped_and_left_out_of_the_batch(
    marks: Marks, ledger: MagicMock, dropped: list[set[str]]
) -> None:
    ledger.run.return_value = {"a"}
    works = [work("a"), work("b"), work("a")]  # a chunk has many works
    assert marks.before_launch(works) == [works[0], works[2]]
    assert dropped == [{"a"}]
    late = work("a")  # it was being tokenized meanwhile
    assert marks.before_launch([late, work("b")]) == [late]


def test_while_redis_is_away_nothing_is_left_out(marks: Marks, ledger: MagicMock) -> None:
    ledger.run.side_effect = redis.ConnectionError
    assert marks.before_launch([work("a")]) == []
