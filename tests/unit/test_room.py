"""How much a worker holds, and whose turn it is."""

import contextlib
import threading

import pytest

from rerankq.status import Lane
from tests.conftest import eventually
from worker.holdings import Holdings
from worker.room import Closed, Room
from worker.turns import Turns


def admitted(room: Room, tokens: int, *, bulk: bool) -> threading.Event:
    """Set once the task is in, or the room has closed."""
    done = threading.Event()

    def wait() -> None:
        with contextlib.suppress(Closed):
            room.admit_task(tokens, bulk=bulk)
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    return done


def test_entries_may_go_over_once() -> None:
    room = Room(100, reserve=10)
    assert room.idle
    room.take(150)
    assert (room.free, room.idle) == (-50, False)
    room.give_back(150)
    assert (room.free, room.idle) == (100, True)


def test_tasks_never_hold_more_than_their_share() -> None:
    room = Room(100, reserve=10)
    first, second = (admitted(room, 30, bulk=False) for _ in range(2))
    eventually(lambda: first.is_set() and second.is_set(), 5)
    third = admitted(room, 30, bulk=False)
    assert not third.wait(0.05)
    room.end_task(30)
    eventually(third.is_set, 5)


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_a_flood_of_tasks_of_any_size_leaves_the_ledger_its_half(size: int) -> None:
    room = Room(100, reserve=10)
    for _ in range(200):
        admitted(room, size, bulk=True)
    eventually(lambda: room.free < 100, 5)
    assert room.free >= 50
    assert room.idle, "an entry of any size may be taken"


def test_a_flood_of_entries_of_any_size_leaves_tasks_their_half() -> None:
    room = Room(100, reserve=10)
    room.take(1000)
    task = admitted(room, 500, bulk=True)
    eventually(task.is_set, 5)


def test_bulk_tasks_leave_the_reserve_alone() -> None:
    room = Room(100, reserve=20)
    room.admit_task(35, bulk=False)
    bulk, interactive = admitted(room, 5, bulk=True), admitted(room, 5, bulk=False)
    eventually(interactive.is_set, 5)
    assert not bulk.wait(0.05)
    room.end_task(35)
    eventually(bulk.is_set, 5)


def test_a_closed_room_lets_nobody_wait() -> None:
    room = Room(10, reserve=0)
    room.admit_task(20, bulk=True)
    task = admitted(room, 5, bulk=True)
    assert not task.wait(0.05)
    room.close()
    eventually(task.is_set, 5)
    with pytest.raises(Closed):
        room.admit_task(1, bulk=False)


def test_an_entry_taken_twice_is_counted_once() -> None:
    room = Room(100, reserve=0)
    holdings = Holdings(room)
    assert holdings.add("job:0", 40)
    assert not holdings.add("job:0", 40)
    holdings.remove(["job:0"])
    holdings.remove(["job:0"])
    assert room.idle


def test_one_token_in_eight_is_bulk_s_while_both_wait() -> None:
    turns = Turns(batch=100)
    taken = {Lane.INTERACTIVE: 0, Lane.BULK: 0}
    for _ in range(4000):
        lane = Lane.BULK if turns.bulk else Lane.INTERACTIVE
        turns.count(lane, 50, bulk_waits=True)
        taken[lane] += 50
    share = taken[Lane.BULK] / sum(taken.values())
    assert abs(share - 1 / 8) < 0.01


def test_bulk_is_owed_nothing_while_none_of_it_waits() -> None:
    turns = Turns(batch=100)
    for _ in range(1000):
        turns.count(Lane.INTERACTIVE, 50, bulk_waits=False)
    assert not turns.bulk


def test_an_hour_of_bulk_alone_is_not_held_against_it() -> None:
    turns = Turns(batch=100)
    for _ in range(1000):
        turns.count(Lane.BULK, 50, bulk_waits=True)
    for _ in range(40):
        turns.count(Lane.INTERACTIVE, 50, bulk_waits=True)
    assert turns.bulk
