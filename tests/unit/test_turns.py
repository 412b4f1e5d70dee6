"""Whose turn it is."""

from __future__ import annotations

from rerankq.status import Lane
from worker.turns import Turns

BATCH = 100


def bulk_tokens_in(turns: Turns, rounds: int) -> int:
    """With both lanes waiting, a batch a round."""
    bulk = 0
    for _ in range(rounds):
        lane = Lane.BULK if turns.bulk else Lane.INTERACTIVE
        turns.count(lane, BATCH, bulk_waits=True)
        bulk += BATCH * (lane is Lane.BULK)
    return bulk


def test_one_token_in_eight_is_bulks_while_both_wait() -> None:
    assert bulk_tokens_in(Turns(BATCH), 800) == 100 * BATCH


def test_an_idle_hours_bulk_work_is_not_held_against_it() -> None:
    turns = Turns(BATCH)
    for _ in range(1000):
        turns.count(Lane.BULK, BATCH, bulk_waits=True)
    assert bulk_tokens_in(turns, 16) >= BATCH


def test_bulk_that_could_not_use_its_turn_does_not_shut_the_other_out() -> None:
    turns = Turns(BATCH)
    for _ in range(1000):
        turns.count(Lane.INTERACTIVE, BATCH, bulk_waits=True)
    assert bulk_tokens_in(turns, 8) <= 3 * BATCH
