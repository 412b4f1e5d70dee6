"""A Celery pipeline of its own: many rankings side by side, then one task with all of them.

`rerankq.rerank` runs in rerankq's workers, `collect` in yours, on a queue of yours:

    celery -A examples.etl.celery_chord worker --queues pipeline
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from celery import Celery, chord
from celery.result import AsyncResult

REDIS_URL = os.environ.get("RERANKQ_REDIS_URL", "redis://127.0.0.1:6379/0")

app = Celery("pipeline", broker=REDIS_URL, backend=REDIS_URL, set_as_current=False)
app.conf.update(
    task_default_queue="pipeline",
    accept_content=["json"],
    # Without a queue of its own a task goes to `celery`, where nobody listens.
    task_routes={"rerankq.rerank": {"queue": "rerankq.bulk"}},
)


@app.task(name="pipeline.collect")
def collect(rankings: list[dict[str, Any]]) -> list[int]:
    """The best document's index of each; may run twice, so it changes nothing."""
    return [ranking["results"][0]["index"] for ranking in rankings]


def best_of_each(requests: Iterable[tuple[str, list[str]]]) -> AsyncResult:
    """Args: requests: queries, each with its documents (at most 1,000)."""
    header = [
        app.signature("rerankq.rerank", kwargs={"query": query, "documents": documents, "top_n": 1})
        for query, documents in requests
    ]
    # A chord's last task is sent by who ends its header: a worker that knows no routes of yours.
    return chord(header, app=app)(collect.s().set(queue="pipeline"))
