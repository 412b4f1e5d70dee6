"""The public Celery task by its signature, for pipelines that have Celery and not our worker.

    from rerankq.tasks import rerank
    rerank.delay(query="...", documents=["...", "..."]).get()

The work is done by our workers, on the Redis that `RERANKQ_REDIS_URL` names. Sent like this a call
is in the ledger before `delay` returns: no death of a worker, and no lost message, loses it.
"""

from __future__ import annotations

from celery import Task

from rerankq.celery_app import make_app
from rerankq.fields import MAX_TASK_DOCUMENTS
from rerankq.ledger.keys import QUEUE_BULK, QUEUE_INTERACTIVE, TASK_RERANK, queue_of
from rerankq.ledgered import LedgeredTask
from rerankq.schema import Ranking
from rerankq.settings import Settings
from rerankq.status import Lane

__all__ = ["MAX_TASK_DOCUMENTS", "QUEUE_BULK", "QUEUE_INTERACTIVE", "Ranking", "app", "rerank"]


def make_task(settings: Settings) -> Task:
    """The task on an app of its own, sent through the ledger of these settings."""
    app = make_app(settings)
    base = type("Rerank", (LedgeredTask, Task), {"settings": settings})
    # Not shared: Celery would put it into every other app of the process, too, where a plain
    # `send_task` by its name would then go to this app's Redis.
    queue = queue_of(Lane.BULK, settings.further)
    return app.task(base=base, name=TASK_RERANK, queue=queue, shared=False)(_rerank)


def _rerank(
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


rerank = make_task(Settings.from_env())
app = rerank.app
