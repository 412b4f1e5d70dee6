"""What becomes of a synchronous request when its job does not stay as it was."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api.problems import Refusal
from api.ranking import Forgotten
from api.routes import rerank


def test_a_ranking_whose_time_ended_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short RERANKQ_RESULT_TTL is no error of ours."""

    async def forgotten(*_: Any) -> Any:
        raise Forgotten("job_1")

    monkeypatch.setattr(rerank, "ranking", forgotten)
    pool: Any = SimpleNamespace(ledger=None)
    with pytest.raises(Refusal) as caught:
        asyncio.run(rerank._ranked(pool, SimpleNamespace(id="job_1")))  # type: ignore[arg-type]
    assert caught.value.problem.status == 503
    assert (caught.value.headers or {})["Retry-After"] == "1"
