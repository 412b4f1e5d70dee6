"""The public Celery task `rerankq.rerank`."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from celery import Celery, Task, signals
from celery.exceptions import Reject
from pydantic import ValidationError
from redis.exceptions import RedisError

from rerankq.envelope import Envelope
from rerankq.errors import LaterVersion
from rerankq.fields import MAX_TASK_DOCUMENTS
from rerankq.ledger import calls
from rerankq.ledger.codec import float32
from rerankq.ledger.connection import may_pass
from rerankq.ledger.keys import HEADER_JOB, TASK_RERANK, queue_of
from rerankq.ledger.sharding import cut
from rerankq.ledger.shards import texts_of
from rerankq.ledgered import LedgeredTask, job_of
from rerankq.schema import JobRequest, Ranking
from rerankq.status import Lane
from rerankq.words import in_words
from worker.engine.interface import Unscorable
from worker.ranking import ranking, stored
from worker.room import Closed
from worker.service import Worker
from worker.work import Draining, Work

log = logging.getLogger(__name__)

T = TypeVar("T")

UNBOUNDED = 10**9
PATIENCE_S = 60.0  # with a Redis that is away, while a result hangs on it
RETRY_S = 0.5
STORE_TRIES = 15  # with Celery's pauses of 10 ms, doubled each time up to 10 s: about a minute


class Rerank(LedgeredTask, Task):  # type: ignore[misc]
    """The public task; from here, too, it is sent through the ledger (a chord's body, a chain)."""

    worker: Worker  # set by `register`, before any task runs
    refuse_when_full = False  # what continues a task that was done must not be refused

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        job_id = self.request.get(HEADER_JOB)
        if job_id is not None:
            return self._stored(job_id)
        try:
            inspect.signature(self.run).bind(*args, **kwargs)
        except TypeError as error:  # as any other mistake of the caller's
            raise ValueError(f"arguments: {error}") from None
        return super().__call__(*args, **kwargs)

    def _stored(self, job_id: str) -> Ranking:
        """Raises: Reject, with which the message goes back: a blip must not fail what is scored."""
        try:
            return _patiently(lambda: stored(self.worker.ledger, job_id))
        except (RedisError, LaterVersion) as error:
            log.warning("result not read", extra={"reason": type(error).__name__})
            raise Reject("the result cannot be read now", requeue=True) from None

    def _commit(self, task_id: str, request: JobRequest, envelope: Envelope) -> None:
        _patiently(lambda: super(Rerank, self)._commit(task_id, request, envelope))

    def after_return(self, *_: Any) -> None:
        """The result is stored: the message need not be published again."""
        if self.request.get(HEADER_JOB) is not None:
            self.acknowledge(self.request.id)

    @classmethod
    def acknowledge(cls, task_id: str) -> None:
        try:
            cls.worker.ledger.run(calls.ack("task", job_of(task_id, cls.settings.further)))
        except RedisError as error:  # then it is published, and answered, once more
            log.warning("result not acknowledged", extra={"reason": type(error).__name__})


def _patiently(call: Callable[[], T]) -> T:
    """Call again while Redis is away. Raises: redis.RedisError: for longer than that."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except RedisError as error:
            if not may_pass(error) or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)


def store_patiently(app: Celery) -> None:
    """Have the app store results through a cut connection.

    Celery reads before it writes, by default once: where that read fails it takes the task for
    failed, and writes that down as soon as Redis is back.
    """
    app.conf.update(result_backend_always_retry=True, result_backend_max_retries=STORE_TRIES)


def register(app: Celery, worker: Worker) -> None:
    """Bind the task to this process's worker."""
    store_patiently(app)
    unbounded = worker.settings.model_copy(update={"max_backlog": UNBOUNDED})
    Rerank.worker, Rerank.settings = worker, unbounded

    # Late acknowledgement: a worker that dies has not taken the message with it.
    @app.task(  # type: ignore[untyped-decorator]
        base=Rerank,
        shared=False,
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
        texts = texts_of(request)
        try:
            works = _scored(self, worker, request, texts)
        except (Draining, Closed):
            raise Reject("this worker is draining", requeue=True) from None
        except Unscorable as error:
            raise ValueError(error.problem.detail) from None
        return ranking(
            float32([score for work in works for score in work.scores]),
            model=worker.engine.profile.model,
            top_n=request.top_n,
            raw_scores=request.raw_scores,
            texts=dict(enumerate(texts)) if request.return_documents else {},
            total_tokens=sum(work.tokens for work in works),
            truncated=sum(len(work.truncated) for work in works),
        )

    signals.task_revoked.connect(_on_revoked, weak=False)
    signals.task_internal_error.connect(_on_internal_error, weak=False)


def _on_internal_error(sender: Task, request: Any, **_: Any) -> None:
    # Its result could not be stored (a full Redis), so it is not acknowledged, and never will be.
    if sender.name == TASK_RERANK:
        Rerank.worker.deliveries.let_go(request["properties"]["delivery_tag"])


def _on_revoked(sender: Task, request: Any, **_: Any) -> None:
    # It ends without reaching its body: revoked, or past its `expires`.
    if sender.name == TASK_RERANK:
        Rerank.acknowledge(request.id)


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
        message = f"{field}: {in_words(first)}"
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
        shard_tokens=worker.settings.shard_tokens,
        max_length=worker.engine.profile.max_length,
        tokens_per_s=worker.coalescer.device.tokens_per_s or None,
    )
    tokens = shape.entry_tokens * len(shape.bounds)
    queue = task.request.delivery_info.get("routing_key")
    bulk = queue == queue_of(Lane.BULK, worker.settings.further)
    worker.room.admit_task(tokens, bulk=bulk)
    try:
        encoded = [
            worker.encoder.encode(request.query, request.instruction, texts[start:stop])
            for start, stop in shape.bounds
        ]
        order = worker.redis_now_ms()
        ended: list[Future[None]] = [Future() for _ in encoded]
        works = [
            Work(
                entry="",
                job=str(task.request.id),
                pairs=part.pairs,
                known=part.known,
                keys=part.keys,
                order=order + k * shape.stride_ms,
                done=lambda _, k=k: ended[k].set_result(None),  # type: ignore[misc]
                lane=Lane.BULK if bulk else Lane.INTERACTIVE,
            )
            for k, part in enumerate(encoded)
        ]
        _run(worker, works, ended)
    finally:
        worker.room.end_task(tokens)
        worker.intake.ring()
    return works


def _run(worker: Worker, works: list[Work], ended: list[Future[None]]) -> None:
    """Raises: see `_scored`."""
    try:
        for work in works:
            worker.coalescer.submit(work)
        for work, end in zip(works, ended, strict=True):
            end.result()
            if work.error is not None:
                raise work.error
            worker.encoder.keep(work)
    finally:
        worker.coalescer.drop(works)  # nothing of a failed one is worth scoring
