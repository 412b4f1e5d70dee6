"""What the ledger is told before a batch goes on the device."""

from __future__ import annotations

import time
from unittest.mock import MagicMock

import pytest

from worker.engine.interface import Pair
from worker.keeper import MARK_FRESH_S, Keeper
from worker.work import Work


@pytest.fixture
def ledger() -> MagicMock:
    return MagicMock(**{"run.return_value": set()})


@pytest.fixture
def keeper(ledger: MagicMock) -> Keeper:
    info = MagicMock(id="w")
    return Keeper(ledger, *[MagicMock()] * 3, info, lease_ms=30_000, max_strikes=3)


def work(entry: str, marked: float = 0.0) -> Work:
    return Work(entry, entry, [Pair((1,), (2,))], 0.0, lambda _: None, marked=marked)


def told(ledger: MagicMock) -> list[str]:
    """The entries of all calls since the last look, behind worker, lease and mark."""
    entries = [entry for call in ledger.run.call_args_list for entry in call[0][0].args[3:]]
    ledger.run.reset_mock()
    return entries


def test_what_the_take_marked_is_not_marked_again_for_its_first_batch(
    keeper: Keeper, ledger: MagicMock
) -> None:
    marked = work("a", time.monotonic())
    keeper.before_launch([marked])
    assert told(ledger) == []
    keeper.before_launch([marked, work("b")])
    assert told(ledger) == ["a", "b"], "its second batch asks whether it is gone"


def test_others_of_its_batch_are_marked(keeper: Keeper, ledger: MagicMock) -> None:
    keeper.before_launch([work("a", time.monotonic()), work("b")])
    assert told(ledger) == ["b"]


def test_after_a_pause_the_takes_mark_says_nothing(keeper: Keeper, ledger: MagicMock) -> None:
    keeper.before_launch([work("a", time.monotonic() - MARK_FRESH_S - 0.1)])
    assert told(ledger) == ["a"]
