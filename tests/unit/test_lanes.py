"""Parts of batches over the cores: none waits for another batch's end, and an error is its own."""

from __future__ import annotations

import os
import sys
import threading

import pytest
import torch

from tests.conftest import eventually
from worker.engine.lanes import NICENESS, Lanes, SideBySide, possible


def part(*scores: float, until: threading.Event | None = None) -> list[float]:
    assert until is None or until.wait(10)
    return list(scores)


def test_the_next_batch_is_begun_by_the_lane_that_is_free_and_ends_after_the_one_ahead() -> None:
    lanes, go = Lanes(2, 2), threading.Event()
    first = SideBySide(lanes, [lambda: part(1.0), lambda: part(2.0, until=go)])
    scores = first.start()
    first.until_room()
    begun = threading.Event()
    second = SideBySide(lanes, [lambda: (begun.set(), part(3.0))[1], lambda: part(4.0)])
    later = second.start()
    assert begun.wait(10), "though the first batch has not ended"
    assert not go.is_set()
    go.set()
    assert (scores(), later()) == ([[1.0], [2.0]], [[3.0], [4.0]])


def test_there_is_no_room_while_every_lane_has_a_part() -> None:
    lanes, go = Lanes(2, 2), threading.Event()
    batch = SideBySide(lanes, [lambda: part(until=go)] * 2)
    scores = batch.start()
    waiter = threading.Thread(target=batch.until_room)
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()
    go.set()
    eventually(lambda: not waiter.is_alive(), 10)
    assert scores() == [[], []]


def test_a_batch_with_fewer_parts_than_lanes_leaves_room_at_once() -> None:
    go = threading.Event()
    batch = SideBySide(Lanes(3, 3), [lambda: part(until=go)] * 2)
    scores = batch.start()
    batch.until_room()
    assert not go.is_set()
    go.set()
    scores()


def test_an_error_of_one_part_is_told_when_the_others_have_ended() -> None:
    ended, go = list[int](), threading.Event()

    def fails() -> list[float]:
        raise ArithmeticError

    def ends() -> list[float]:
        go.wait(10)
        ended.append(1)
        return []

    batch = SideBySide(Lanes(2, 2), [fails, ends])
    scores = batch.start()
    threading.Timer(0.05, go.set).start()
    with pytest.raises(ArithmeticError):
        scores()
    assert ended


def test_each_lane_computes_on_one_core_and_one_part_alone_on_all() -> None:
    def look() -> list[float]:
        return [torch.get_num_threads()]

    for lanes in (Lanes(2, 3), Lanes(1, 3)):
        for _ in range(2):
            assert SideBySide(lanes, [look, look]).start()() == [[1], [1]]
            assert lanes.together(look) == [3]


def test_all_cores_are_always_used_by_the_same_thread() -> None:
    lanes = Lanes(4, 4)
    SideBySide(lanes, [lambda: part(1.0)] * 4).start()()
    used = {lanes.together(lambda: [threading.get_native_id()])[0] for _ in range(10)}
    assert len(used) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="there, a priority is a whole process's")
def test_a_lane_gives_way_to_other_threads() -> None:
    def look() -> list[float]:
        return [os.getpriority(os.PRIO_PROCESS, threading.get_native_id())]

    before = look()[0]
    lanes = Lanes(2, 2)
    seen = [*SideBySide(lanes, [look, look]).start()(), lanes.together(look)]
    assert seen == [[max(before, NICENESS)]] * 3
    assert look() == [before]


def test_code_of_a_models_own_is_run_by_one_thread() -> None:
    cpu = torch.device("cpu")
    assert [way.count for way in possible(cpu, 4, own_code=True)] == [1]
    assert [way.count for way in possible(cpu, 4, own_code=False)] == [4, 1]
