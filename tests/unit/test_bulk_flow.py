"""How much of a chunk is with the coalescer at a time."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from rerankq.bulk.records import Record
from worker.bulk import flow
from worker.bulk.flow import Abandoned, Flow
from worker.encoder import Encoded
from worker.engine.interface import Layout, Pair
from worker.work import Work

PREFIX = tuple(range(900))


class Coalescer:
    """Keeps what it is given; `end` scores the oldest."""

    def __init__(self) -> None:
        self.works: list[Work] = []

    def submit(self, work: Work) -> None:
        self.works.append(work)

    def end(self) -> None:
        work = self.works.pop(0)
        for index in range(len(work.pairs)):
            work.put(index, 0.5)


def record(line: int) -> Record:
    return Record(line=line, query_id=str(line), query="q", documents=["d"] * 10)


def admitted(under_test: Flow, looks: list[int]) -> int:
    """Records that are let in before it waits."""
    for count in range(100):
        looks[0] = 5
        try:
            under_test.add(record(count))
        except Abandoned:
            return count
    raise AssertionError("it never waits")


LONG_PREFIX = [Pair(PREFIX, (n,) * 10) for n in range(10)]  # 1,000 tokens, 9,100 by lengths
ONE_LONG = [Pair((), (n,) * (820 if n == 0 else 20)) for n in range(10)]  # 1,000, padded 8,200


@pytest.mark.parametrize(
    ("layout", "pairs"), [(Layout.PACKED, LONG_PREFIX), (Layout.PADDED, ONE_LONG)]
)
def test_the_window_counts_what_fills_a_batch(
    layout: Layout, pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "LOOK_S", 0.01)
    coalescer, looks = Coalescer(), [0]

    def ours() -> bool:
        looks[0] -= 1
        return looks[0] > 0

    def encode(*_: Any) -> Encoded:
        return Encoded(pairs, {}, ())

    whole: dict[str, Any] = {"encoder": SimpleNamespace(encode=encode), "coalescer": coalescer}
    profile: Any = SimpleNamespace(layout=layout, model="m", revision="r")
    under_test = Flow(
        **whole,
        profile=profile,
        entry="e",
        batch_id="b",
        order=0.0,
        window=3_000,
        instruction=None,
        ours=ours,
        watch=nullcontext,
        scored=lambda _: None,
    )
    assert admitted(under_test, looks) == 3
    coalescer.end()
    assert admitted(under_test, looks) == 1
    while coalescer.works:
        coalescer.end()
    looks[0] = 5
    assert [one.log_odds for one in under_test.results()] == [[0.5] * 10] * 4  # type: ignore[union-attr]
