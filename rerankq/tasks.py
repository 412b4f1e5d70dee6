"""The public Celery task by its signature, for pipelines that have Celery and not our worker.

    from rerankq.tasks import rerank
    rerank.delay(query="...", documents=["...", "..."]).get()

The work is done by our workers, on the Redis that `RERANKQ_REDIS_URL` names.
"""

from __future__ import annotations

from typing import Any

from celery import Task

from rerankq.celery_app import make_app
from rerankq.ledger.keys import QUEUE_BULK, QUEUE_INTERACTIVE, TASK_RERANK
from rerankq.schema import MAX_TASK_DOCUMENTS, Ranking
from rerankq.settings import Settings

__all__ = ["MAX_TASK_DOCUMENTS", "QUEUE_BULK", "QUEUE_INTERACTIVE", "Ranking", "app", "rerank"]

app = make_app(Settings.from_env())


class WithoutTexts(Task):  # type: ignore[misc]
    """Keeps queries and documents out of the message's headers, where Celery repeats 1 KB."""

    def apply_async(self, *args: Any, **options: Any) -> Any:
        return super().apply_async(*args, **{"argsrepr": "-", "kwargsrepr": "-", **options})


@app.task(base=WithoutTexts, name=TASK_RERANK, queue=QUEUE_BULK)  # type: ignore[untyped-decorator]
def rerank(
    query: str,
    documents: list[str],
    instruction: str | None = None,
    top_n: int | None = None,
    return_documents: bool = False,
    raw_scores: bool = False,
) -> Ranking:
    """Rank documents for a query. Runs in a rerankq worker, never in the caller's process.

    Raises:
        RuntimeError: called or eagerly applied where no model is.
    """
    raise RuntimeError(f"{TASK_RERANK} runs in a rerankq worker: use .delay() or .apply_async()")
