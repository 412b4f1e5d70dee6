"""The ranking a public task returns: of what was just scored, or of what the ledger has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rerankq.ledger.records import JobRecord
from rerankq.ledger.store import Ledger
from rerankq.schema import Ranking
from rerankq.scores import best_first, shown
from rerankq.status import JobStatus


def ranking(
    log_odds: Sequence[float],
    *,
    model: str,
    top_n: int | None,
    raw_scores: bool,
    texts: Mapping[int, str],
    total_tokens: int,
    truncated: int,
) -> Ranking:
    """Args: texts: by index, those that go back with the results."""
    results: list[dict[str, Any]] = []
    for i in best_first(log_odds, top_n):
        result: dict[str, Any] = {"index": i, "relevance_score": shown(log_odds[i], raw_scores)}
        if i in texts:
            result["document"] = {"text": texts[i]}
        results.append(result)
    usage = {"total_tokens": total_tokens, "truncated": truncated}
    return {"model": model, "results": results, "usage": usage}


def stored(ledger: Ledger, job_id: str) -> Ranking:
    """The ranking of a job that has ended.

    Raises:
        ValueError: the caller's mistake, as if the task had met it itself.
        RuntimeError: there is no ranking for another reason.
    """
    job = ledger.job(job_id)
    if job is None:
        raise RuntimeError("the time for which a result is kept is over")
    if job.status is not JobStatus.SUCCEEDED:
        raise _failure(job)
    outputs = sorted(ledger.outputs(job_id), key=lambda output: output.first)
    texts = {
        index: text
        for echo in ledger.echoes(job_id)
        for index, text in enumerate(echo.texts or (), echo.first)
    }
    return ranking(
        [each for output in outputs for each in output.log_odds],
        model=job.model,
        top_n=job.top_n,
        raw_scores=job.raw_scores,
        texts=texts,
        total_tokens=job.tokens,
        truncated=job.truncated,
    )


def _failure(job: JobRecord) -> Exception:
    if job.error is None:
        return RuntimeError(f"the job was {job.status}")
    kind = ValueError if 400 <= job.error.status < 500 else RuntimeError
    return kind(job.error.detail)
