"""The short version of `make chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.localsystem import Start
from tests.chaos.drains import drain
from tests.chaos.run import run
from tests.chaos.storm import Plan


@pytest.mark.timeout(500)
def test_nothing_is_lost_in_a_short_storm(tmp_path: Path, start_process: Start) -> None:
    plan = Plan(kills=3, redis_kills=1, freezes_s=(7.0,), resets=2, api_kills=1)
    report = run(tmp_path, seed=7, jobs=110, plan=plan, start=start_process)
    assert report.outcome.wrong == []
    assert report.outcome.succeeded == 110
    assert report.left == []
    assert report.backlog_tokens == 0
    damage = report.damage
    assert (damage.worker_kills, damage.redis_kills, damage.freezes) == (3, 1, 1)
    assert damage.leases_hit >= 3, "a kill that hits no lease proves nothing"


@pytest.mark.timeout(300)
def test_workers_that_drain_lose_nothing_and_redo_nothing(
    tmp_path: Path, start_process: Start
) -> None:
    drains = drain(tmp_path, times=1, start=start_process)
    assert drains.wrong == []
    assert len(drains.exits_s) == 1
    assert drains.entries > 0
