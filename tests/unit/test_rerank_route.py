"""What a synchronous caller is told when its job does not become a ranking."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api import awaited
from api.awaited import Awaited, ranked_of
from api.problems import Refusal
from api.ranking import Forgotten
from rerankq.status import JobStatus


def test_a_ranking_whose_time_ended_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short RERANKQ_RESULT_TTL is no error of ours."""

    async def forgotten(*_: Any) -> Any:
        raise Forgotten("job_1")

    monkeypatch.setattr(awaited, "ranking", forgotten)
    pool: Any = SimpleNamespace(ledger=None)
    job: Any = SimpleNamespace(id="job_1")
    with pytest.raises(Refusal) as caught:
        asyncio.run(ranked_of(pool, job))
    assert caught.value.problem.code == "forgotten"
    assert told(None)[:2] == (503, "forgotten")


def told(*jobs: Any, ending: bool = False) -> tuple[int, str, str]:
    """Status, code and `Retry-After` of what is said of jobs as they were at the wait's end."""

    async def until_final(*_: Any) -> Any:
        return jobs

    async def nothing(*_: Any) -> Any:
        return []

    pool: Any = SimpleNamespace(
        joined=SimpleNamespace(until_final=until_final, give_up=nothing),
        waiter=SimpleNamespace(ending=ending),
        fleet=SimpleNamespace(ready=nothing),
    )
    waited = Awaited(
        pool=pool,
        submitted=[],
        seconds=7,
        answering=lambda _: None,  # type: ignore[arg-type, return-value]
        uncut="truncation",
        max_tokens_per_doc=2,
        names={},
    )
    with pytest.raises(Refusal) as caught:
        asyncio.run(waited.response(nothing))
    problem = caught.value.problem
    return problem.status, problem.code, (caught.value.headers or {}).get("Retry-After", "")


def job(status: JobStatus, **more: Any) -> Any:
    return SimpleNamespace(status=status, error=None, truncated=0, **more)


def test_each_end_of_a_job_is_told_as_what_it_is() -> None:
    queued, done = job(JobStatus.QUEUED), job(JobStatus.SUCCEEDED)
    assert told(queued, done) == (503, "timed_out", "1")
    assert told(queued, ending=True) == (503, "stopping", "1")
    assert told(done, job(JobStatus.CANCELLED), queued) == (503, "cancelled", "5")
    assert told(job(JobStatus.EXPIRED)) == (503, "timed_out", "1")
