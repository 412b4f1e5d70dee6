"""From stored log-odds to a ranking: probabilities are computed here, when read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from rerankq.ledger.async_store import AsyncLedger
from rerankq.ledger.codec import Echo
from rerankq.ledger.records import JobRecord
from rerankq.schema import DocumentOut, Result
from rerankq.scores import best_first, shown
from rerankq.status import JobStatus


class Forgotten(Exception):
    """The job's time ended while its results were being read."""


async def ranking(ledger: AsyncLedger, job: JobRecord) -> list[Result]:
    """The documents scored so far, best first, at most `top_n`.

    Raises: Forgotten.
    """
    log_odds: dict[int, float] = {}
    truncated: set[int] = set()
    outputs, echoes = await ledger.scored(job)
    for output in outputs:
        log_odds.update(enumerate(output.log_odds, output.first))
        truncated.update(output.first + i for i in output.truncated)
    ids, texts = _echoed(echoes)
    if job.status is JobStatus.SUCCEEDED and len(log_odds) < job.total:
        raise Forgotten(job.id)
    args = (job, log_odds, truncated, ids, texts)
    # Beyond this, other requests would feel it (100,000 results take 0.7 s).
    return await asyncio.to_thread(_ranked, *args) if len(log_odds) > 5_000 else _ranked(*args)


def _ranked(
    job: JobRecord,
    log_odds: dict[int, float],
    truncated: set[int],
    ids: dict[int, str],
    texts: dict[int, str],
) -> list[Result]:
    scored = sorted(log_odds)
    best = best_first([log_odds[index] for index in scored], job.top_n)
    return [_result(scored[i], log_odds, truncated, job.raw_scores, ids, texts) for i in best]


def _result(
    index: int,
    log_odds: dict[int, float],
    truncated: set[int],
    raw: bool,
    ids: dict[int, str],
    texts: dict[int, str],
) -> Result:
    return Result(
        index=index,
        id=ids.get(index),
        relevance_score=shown(log_odds[index], raw),
        document=DocumentOut(text=texts[index]) if index in texts else None,
        truncated=True if index in truncated else None,
    )


def _echoed(echoes: Iterable[Echo]) -> tuple[dict[int, str], dict[int, str]]:
    """The caller's ids and texts by index, as far as they go back."""
    ids: dict[int, str] = {}
    texts: dict[int, str] = {}
    for echo in echoes:
        ids.update((i, name) for i, name in enumerate(echo.ids, echo.first) if name is not None)
        texts.update(enumerate(echo.texts or (), echo.first))
    return ids, texts
