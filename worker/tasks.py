"""The Celery tasks: the doorbell, and the public `rerankq.rerank`."""

from __future__ import annotations

import inspect
from concurrent.futures import Future
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject
from pydantic import ValidationError

from rerankq.ledger.codec import float32
from rerankq.ledger.keys import QUEUE_BULK, TASK_BELL, TASK_RERANK
from rerankq.ledger.sharding import cut
from rerankq.schema import MAX_TASK_DOCUMENTS, Document, JobRequest, Ranking
from rerankq.scores import best_first, shown
from worker.coalescer import Draining
from worker.engine.interface import Unscorable
from worker.intake import BULK_PATIENCE_MS
from worker.room import Closed
from worker.service import Worker
from worker.work import Work


class WithArguments(Task):  # type: ignore[misc]
    """Refuses a call whose arguments do not fit as any other mistake of the caller's."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            inspect.signature(self.run).bind(*args, **kwargs)
        except TypeError as error:
            raise ValueError(f"arguments: {error}") from None
        return super().__call__(*args, **kwargs)


def register(app: Celery, worker: Worker) -> None:
    """Bind both tasks to this process's worker."""

    @app.task(name=TASK_BELL, ignore_result=True, acks_late=False)  # type: ignore[untyped-decorator]
    def bell() -> None:
        worker.intake.ring()

    # Late acknowledgement: a worker that dies has not taken the message with it.
    @app.task(  # type: ignore[untyped-decorator]
        base=WithArguments,
        name=TASK_RERANK,
        bind=True,
        acks_late=True,
        reject_on_worker_lost=True,
        throws=(ValueError,),  # the caller's mistake: no traceback in our log
    )
    def rerank(
        self: Task,
        query: str,
        documents: list[str],
        instruction: str | None = None,
        top_n: int | None = None,
        return_documents: bool = False,
        raw_scores: bool = False,
    ) -> Ranking:
        request = _checked(
            query=query,
            documents=documents,
            instruction=instruction,
            top_n=top_n,
            return_documents=return_documents,
            raw_scores=raw_scores,
        )
        texts = [d.text if isinstance(d, Document) else d for d in request.documents]
        try:
            works = _scored(self, worker, request, texts)
        except (Draining, Closed):
            raise Reject("this worker is draining", requeue=True) from None
        except Unscorable as error:
            raise ValueError(error.problem.detail) from None
        return _ranking(works, worker, request, texts)


def _checked(**arguments: Any) -> JobRequest:
    """The arguments by the rules of a job over HTTP.

    Raises: ValueError, whose text names the argument and the limit and never repeats a text.
    """
    documents = arguments["documents"]
    if isinstance(documents, list) and len(documents) > MAX_TASK_DOCUMENTS:
        raise ValueError(
            f"documents: {len(documents)} given; the limit is {MAX_TASK_DOCUMENTS} a task"
        )
    try:
        return JobRequest.model_validate(arguments)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"] if not str(part).startswith("("))
        message = f"{field}: {first['msg'].removeprefix('Value error, ')}"
    raise ValueError(message)  # outside of the handler, whose error holds the texts


def _scored(task: Task, worker: Worker, request: JobRequest, texts: list[str]) -> list[Work]:
    """The task's works, scored, in document order.

    It is cut like a job, so that a large one shares the device with what comes later.

    Raises: Draining, Closed, Unscorable, or what the device raised for one of them.
    """
    shape = cut(
        request.query,
        request.instruction,
        texts,
        shard_tokens=worker.shard_tokens,
        max_length=worker.engine.profile.max_length,
        tokens_per_s=worker.coalescer.tokens_per_s or None,
    )
    tokens = shape.entry_tokens * len(shape.bounds)
    bulk = task.request.delivery_info.get("routing_key") == QUEUE_BULK
    worker.room.admit_task(tokens, bulk=bulk)
    try:
        pairs = worker.engine.encode(request.query, request.instruction, texts)
        order = worker.redis_now_ms() + (BULK_PATIENCE_MS if bulk else 0)
        ended: list[Future[None]] = [Future() for _ in shape.bounds]
        works = [
            Work(
                entry="",
                job=str(task.request.id),
                pairs=pairs[start:stop],
                order=order + k * shape.stride_ms,
                done=lambda _, k=k: ended[k].set_result(None),  # type: ignore[misc]
            )
            for k, (start, stop) in enumerate(shape.bounds)
        ]
        try:
            for work in works:
                worker.coalescer.submit(work)
            for work, end in zip(works, ended, strict=True):
                end.result()
                if work.error is not None:
                    raise work.error
        finally:
            worker.coalescer.drop(works)  # nothing of a failed one is worth scoring
    finally:
        worker.room.end_task(tokens)
        worker.intake.ring()
    return works


def _ranking(works: list[Work], worker: Worker, request: JobRequest, texts: list[str]) -> Ranking:
    log_odds = float32([score for work in works for score in work.scores])
    results: list[dict[str, Any]] = []
    for i in best_first(log_odds, request.top_n):
        result: dict[str, Any] = {
            "index": i,
            "relevance_score": shown(log_odds[i], request.raw_scores),
        }
        if request.return_documents:
            result["document"] = {"text": texts[i]}
        results.append(result)
    return {
        "model": worker.engine.profile.model,
        "results": results,
        "usage": {
            "total_tokens": sum(work.tokens for work in works),
            "truncated": sum(pair.truncated for work in works for pair in work.pairs),
        },
    }
