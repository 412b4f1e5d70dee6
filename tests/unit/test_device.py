"""The device's thread: what it is given, what it learns, a GPU that works by itself, and cores that
each have a part of a batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue

import pytest

from tests.conftest import eventually
from tests.held_engine import POISON, HeldEngine, pair
from worker.budget import TokenBudget
from worker.device import Device, Formed
from worker.engine.interface import Launch, Pair, PairFailed
from worker.work import Draining, Item, Work

ended: list[Work] = []


@pytest.fixture(autouse=True)
def _nothing_ended() -> None:
    ended.clear()


def work(*tokens: int, job: str = "j") -> Work:
    return Work("e", job, [pair(token) for token in tokens], 0.0, ended.append)


class LikeGpu(HeldEngine):
    """Works by itself: a batch is started at once, and scored when the test lets it go."""

    def prepare(self, pairs: Sequence[Pair]) -> Launch:
        tokens = [pair.own[0] for pair in pairs]
        return Launch(lambda: self._start(tokens), works_by_itself=True)

    def _start(self, tokens: list[int]) -> Callable[[], list[float]]:
        if POISON in tokens:
            raise RuntimeError("at the start")
        self.batches.append(tokens)
        self.entered.put(len(tokens))

        def wait() -> list[float]:
            self.go.acquire()
            return [float(token) for token in tokens]

        return wait


@pytest.fixture
def gpu() -> LikeGpu:
    return LikeGpu()


class LikeCores(LikeGpu):
    """A batch has parts; the first of them ends when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.part_ends = threading.Semaphore(0)
        self.ended_before = list[int]()  # works, when each batch was started
        self.waits = SimpleQueue[None]()  # an element for each wait for a part's end

    def prepare(self, pairs: Sequence[Pair]) -> Launch:
        tokens = [pair.own[0] for pair in pairs]
        return Launch(lambda: self._start(tokens), until_room=self._until_room)

    def _start(self, tokens: list[int]) -> Callable[[], list[float]]:
        self.ended_before.append(len(ended))
        return super()._start(tokens)

    def _until_room(self) -> None:
        self.waits.put(None)
        self.part_ends.acquire()


@contextmanager
def running(engine: LikeGpu, *works: Work) -> Iterator[Device]:
    """A device's thread over batches of one work each, all formed before it takes the first."""
    device = Device(engine, TokenBudget(100))
    device.rate.learn(10**6, 1.0, full=True, alone=True)
    for each in works:
        batch = [[Item(each, index)] for index in range(len(each.pairs))]
        device.inbox.put(Formed(batch, engine.prepare(each.pairs)))
    device.inbox.put(None)
    thread = threading.Thread(target=device.run)
    thread.start()
    try:
        yield device
    finally:
        for _ in range(100):
            engine.go.release()
        thread.join(5)
    assert not thread.is_alive()


def test_a_gpu_is_given_the_batch_behind_before_the_first_has_ended_but_no_third(
    gpu: LikeGpu,
) -> None:
    works = [work(n, job=str(n)) for n in range(4)]
    with running(gpu, *works) as device:
        assert [gpu.entered.get(timeout=5) for _ in range(2)] == [1, 1]
        eventually(lambda: device.inbox.qsize() == 3, 5)  # two batches and the end
        assert (gpu.batches, ended) == ([[0], [1]], [])
        gpu.go.release()
        gpu.entered.get(timeout=5)
        assert (gpu.batches, ended) == ([[0], [1], [2]], works[:1])
    assert ended == works
    assert [each.scores for each in works] == [[0.0], [1.0], [2.0], [3.0]]
    assert device.current is None


def test_behind_a_long_batch_none_is_started(gpu: LikeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.device.SHORT_S", 0.0)
    with running(gpu, work(1), work(2)):
        gpu.entered.get(timeout=5)
        gpu.go.release()
        gpu.entered.get(timeout=5)
        assert len(ended) == 1


def test_a_core_that_has_ended_its_part_is_given_one_of_the_next_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.device.SHORT_S", 0.0)  # behind a long one, too
    cores = LikeCores()
    works = [work(n) for n in range(3)]
    with running(cores, *works):
        cores.waits.get(timeout=5)
        assert (cores.batches, ended) == ([[0]], [])
        cores.part_ends.release()
        eventually(lambda: cores.batches == [[0], [1]], 5)
        assert ended == []
        cores.go.release()
        cores.waits.get(timeout=5)
        assert (cores.batches, ended) == ([[0], [1]], works[:1])
        cores.part_ends.release(2)
        eventually(lambda: cores.batches == [[0], [1], [2]], 5)
    assert [each.scores for each in works] == [[0.0], [1.0], [2.0]]


@pytest.mark.parametrize("one_batch", [True, False])
def test_of_one_job_no_more_than_a_batch_is_on_the_cores(one_batch: bool) -> None:
    cores, works = LikeCores(), [work(*range(60), job="large") for _ in range(2)]
    for each in works:
        each.one_batch = one_batch
    with running(cores, *works):
        cores.waits.get(timeout=5)
        cores.part_ends.release(2)
        eventually(lambda: one_batch or len(cores.batches) == 2, 5)
        cores.go.release(2)
        eventually(lambda: len(ended) == 2, 5)
    assert cores.ended_before == [0, int(one_batch)]
    assert ended == works


def test_its_patience_with_a_batch_begins_when_that_is_the_first(gpu: LikeGpu) -> None:
    with running(gpu, work(1), work(2)) as device:
        for _ in range(2):
            gpu.entered.get(timeout=5)
        first = device.current
        assert first is not None
        gpu.go.release()
        eventually(lambda: device.current is not first, 5)
        second = device.current
        assert second is not None
        assert second.due > first.due


def test_a_batch_that_fails_at_its_start_waits_for_the_one_ahead_and_is_halved(
    gpu: LikeGpu,
) -> None:
    first, second = work(1), work(2, POISON, 3)
    gpu.go = threading.Semaphore(100)
    with running(gpu, first, second) as device:
        eventually(lambda: len(ended) == 2, 5)
    assert ended == [first, second]
    assert first.scores == [1.0]
    assert isinstance(second.error, PairFailed)
    assert [3] in gpu.batches or [2] in gpu.batches
    assert device.current is None


def test_drained_while_two_are_on_the_device_both_end_and_no_third(gpu: LikeGpu) -> None:
    works = [work(n) for n in range(3)]
    with running(gpu, *works) as device:
        for _ in range(2):
            gpu.entered.get(timeout=5)
        device.stopping = True
    assert [each.error for each in works[:2]] == [None, None]
    assert isinstance(works[2].error, Draining)
    assert gpu.batches == [[0], [1]]
