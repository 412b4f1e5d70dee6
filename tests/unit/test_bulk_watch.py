"""How soon the end of a batch is seen, and how often it is looked for."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from rerankq.bulk.command import watch
from rerankq.bulk.command.progress import Progress


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("tells", "takes", "late", "looks"),
    [
        (False, 0.3, 0.1, 5),
        (False, 10.0, 0.25, 100),
        (False, 1_000.0, 2.0, 800),
        (True, 0.3, 0.0, 5),
        (True, 10.0, 0.0, 20),
        (True, 1_000.0, 0.0, 520),
    ],
)
def test_the_end_is_seen_soon_and_a_long_batch_is_asked_for_seldom(
    tells: bool, takes: float, late: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, asked = Clock(), list[float]()
    monkeypatch.setattr(watch, "time", clock)
    ends = clock.now + takes

    def state(_: str) -> Any:
        asked.append(clock.now)
        return SimpleNamespace(final=clock.now >= ends)

    def wait(seconds: float) -> bool:
        clock.sleep(min(seconds, ends - clock.now) if tells else seconds)
        return tells

    service: Any = SimpleNamespace(state=state, listening=lambda _: nullcontext(wait))
    watch.until_final(service, "b", Progress(), poll=2.0, give_up_after=None, check=lambda: None)
    assert ends <= asked[-1] <= ends + late
    assert len(asked) <= looks
