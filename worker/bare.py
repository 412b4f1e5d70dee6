"""A task that was sent bare, its documents in its message: scored through the same coalescer."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

from rerankq.ledger.sharding import cut
from rerankq.schema import JobRequest
from rerankq.status import Lane
from worker.encoder import Encoded
from worker.service import Worker
from worker.work import Work


def scored(
    worker: Worker, request: JobRequest, texts: Sequence[str], *, task_id: str, lane: Lane
) -> list[Work]:
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
        tokens_per_s=worker.coalescer.device.rate.tokens_per_s or None,
    )
    tokens = shape.entry_tokens * len(shape.bounds)
    worker.room.admit_task(tokens, bulk=lane is Lane.BULK)
    try:
        parts = [
            worker.encoder.encode(request.query, request.instruction, texts[start:stop])
            for start, stop in shape.bounds
        ]
        order = worker.redis_now_ms()
        awaited = [
            _awaited(part, task_id, lane, order + k * shape.stride_ms)
            for k, part in enumerate(parts)
        ]
        _run(worker, awaited)
    finally:
        worker.room.end_task(tokens)
        worker.intake.ring()
    return [work for work, _ in awaited]


def _awaited(part: Encoded, task_id: str, lane: Lane, order: float) -> tuple[Work, Future[None]]:
    """A work of the task's, and what is done when it has ended."""
    end: Future[None] = Future()
    work = Work(
        entry="",
        job=task_id,
        pairs=part.pairs,
        known=part.known,
        keys=part.keys,
        order=order,
        done=lambda _: end.set_result(None),
        lane=lane,
    )
    return work, end


def _run(worker: Worker, awaited: Sequence[tuple[Work, Future[None]]]) -> None:
    """Raises: see `scored`."""
    try:
        for work, _ in awaited:
            worker.coalescer.submit(work)
        for work, end in awaited:
            end.result()
            if work.error is not None:
                raise work.error
            worker.encoder.keep(work)
    finally:
        # Nothing of a failed one is worth scoring.
        worker.coalescer.drop(work for work, _ in awaited)
