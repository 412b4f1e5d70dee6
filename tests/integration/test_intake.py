"""When a worker looks into the ledger."""

from collections.abc import Iterator
from unittest.mock import MagicMock

import pytest

from rerankq.ledger.calls import Take
from rerankq.ledger.keys import Key, name
from rerankq.status import Lane
from tests.conftest import eventually
from tests.integration.bench import TOKENS, Bench, holder
from worker import intake as module
from worker.holdings import Holdings
from worker.intake import Intake
from worker.room import Room
from worker.turns import Turns


@pytest.fixture
def holdings() -> Holdings:
    return Holdings(Room(TOKENS, reserve=0))


@pytest.fixture
def intake(bench: Bench, holdings: Holdings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Intake]:
    """With room for one entry; nothing is scored, so what it takes it holds."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 60.0)
    parts = MagicMock(), MagicMock(), MagicMock()
    room = holdings._room
    intake = Intake(bench.ledger, *parts, holdings, room, holder("w"), MagicMock(free=0))
    intake.start()
    yield intake
    intake.stop()


def test_a_full_worker_looks_again_when_there_is_room(
    bench: Bench, holdings: Holdings, intake: Intake
) -> None:
    bench.commit("job_1")
    intake.ring()
    eventually(lambda: holdings.entries() == ["job_1:0"], 10)
    bench.commit("job_2")  # nobody told it
    holdings.remove(["job_1:0"])
    intake.look_again()
    eventually(lambda: holdings.entries() == ["job_2:0"], 10)


def test_one_that_left_something_looks_again(
    bench: Bench, holdings: Holdings, intake: Intake
) -> None:
    bench.commit("job_1", shards=3)
    intake.ring()
    for k in range(3):
        eventually(lambda k=k: holdings.entries() == [f"job_1:{k}"], 10)
        holdings.remove([f"job_1:{k}"])
        intake.look_again()


def test_a_look_says_whether_it_found_what_it_could_not_take(
    bench: Bench, holdings: Holdings, intake: Intake
) -> None:
    assert intake.look(), "there was nothing"
    bench.commit("job_1", shards=2)
    assert intake.look()
    assert holdings.entries() == ["job_1:0"]
    assert not intake.look()


@pytest.mark.parametrize(
    ("shards", "on_device", "tasks", "marked"),
    [(1, None, 0, True), (2, None, 0, False), (1, "a batch", 0, False), (1, None, 5, False)],
)
def test_what_is_launched_at_once_is_marked_by_the_take(
    bench: Bench, shards: int, on_device: object, tasks: int, marked: bool
) -> None:
    room = Room(10 * TOKENS, reserve=0)
    room.admit_task(tasks, bulk=False)
    coalescer = MagicMock(**{"device.current": on_device})
    parts = MagicMock(), coalescer, MagicMock(), Holdings(room), room
    intake = Intake(bench.ledger, *parts, holder("w"), MagicMock(free=0))
    begun = []
    intake._begin = lambda item, marked=0.0: begun.append(marked)  # type: ignore[method-assign]
    bench.commit(shards=shards)
    assert len(intake._take().entries) == shards
    assert [bool(one) for one in begun] == [marked] * shards
    assert bench.redis.hlen(name(Key.DEVICE)) == int(marked)


def test_one_call_takes_all_that_fits(
    bench: Bench, holdings: Holdings, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And none more is made while bulk work waits for the room that is kept from it."""
    monkeypatch.setattr(intake, "_room", Room(3 * TOKENS, reserve=TOKENS))
    monkeypatch.setattr(holdings, "_room", intake._room)
    monkeypatch.setattr(intake, "_turns", Turns(TOKENS))
    seen: list[int] = []
    take = intake._take

    def counted() -> Take:
        answer = take()
        seen.append(len(answer.entries))
        return answer

    monkeypatch.setattr(intake, "_take", counted)
    bench.commit(shards=4, lane=Lane.BULK)
    assert intake.look()
    assert seen == [2]
    assert intake.left
