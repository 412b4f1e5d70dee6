"""Sending a public task through the ledger instead of as a message.

The call becomes a job: its documents are cut into shards, and its Celery message is kept with it.
When the job ends, a worker publishes the message, now without arguments; whoever receives it
returns the job's ranking through Celery's normal path, so that results, groups, chords and links
work as ever. Only that last, small message travels as Celery's messages do, and it is published
again until its result is stored.
"""

from __future__ import annotations

import functools
import inspect
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from celery.result import AsyncResult
from celery.utils.time import maybe_iso8601
from pydantic import ValidationError

from rerankq import tracing
from rerankq.envelope import Catcher, Envelope
from rerankq.errors import Overloaded
from rerankq.fields import MAX_TASK_DOCUMENTS
from rerankq.ledger import calls, shards
from rerankq.ledger.connection import connect
from rerankq.ledger.keys import FULLEST_REDIS, queue_of, root_of, tag_of
from rerankq.ledger.records import header
from rerankq.ledger.sharding import Cut, cut
from rerankq.ledger.store import Ledger
from rerankq.schema import JobRequest, Problem
from rerankq.settings import Settings
from rerankq.status import Lane

DEFAULT_EXPIRES_IN_S = 24 * 3600
_TASKS = uuid.UUID("5f0c7a6e-7d5b-5c1e-9a53-0d8f4f3a2b10")


@functools.lru_cache(maxsize=8)
def ledger_at(redis_url: str, model: str | None) -> Ledger:
    return Ledger(connect(redis_url), root_of(model))


def job_of(task_id: str, model: str | None) -> str:
    """The id of a task's job: the same task sent twice is one job.

    Args:
        model: a further model, None for the default one.
    """
    return f"job_{uuid.uuid5(_TASKS, task_id).hex}{tag_of(model)}"


class LedgeredTask:
    """A Celery task whose `apply_async` hands the call to the ledger; mix it into `Task`."""

    settings: Settings
    app: Any
    refuse_when_full = True  # with Redis's memory nearly used up

    def apply_async(
        self, args: Any = None, kwargs: Any = None, *, producer: Any = None, **options: Any
    ) -> AsyncResult:
        """As Celery's. Once it returns the call is durable.

        Arguments that no ranking can come of are sent on as Celery would: the caller meets the
        error where it looks for the result.

        Raises:
            ValueError: a queue that no worker serves.
            Overloaded: the lane's backlog is full, or Redis's memory nearly so.
            redis.RedisError: Redis does not answer; whether the call was taken is then unknown,
                and sending it again with the same `task_id` is safe.
        """
        # Or Celery would repeat a thousand characters of the arguments in the headers.
        options = {"argsrepr": "-", "kwargsrepr": "-", **options}
        send = super().apply_async  # type: ignore[misc]
        request = self._request(args, kwargs)
        if request is None:
            return send(args, kwargs, producer=producer, **options)
        catcher = Catcher(self.app)
        result: AsyncResult = send(args, kwargs, producer=catcher, **options)
        if catcher.caught is not None:
            self._commit(result.id, request, catcher.caught)
        return result

    def _request(self, args: Any, kwargs: Any) -> JobRequest | None:
        try:
            bound = inspect.signature(self.run).bind(*(args or ()), **(kwargs or {}))  # type: ignore[attr-defined]
            request = JobRequest.model_validate(bound.arguments)
        except (TypeError, ValidationError):
            return None
        return request if len(request.documents) <= MAX_TASK_DOCUMENTS else None

    def _commit(self, task_id: str, request: JobRequest, envelope: Envelope) -> None:
        settings = self.settings
        lane, model = _address(envelope.routing_key, settings)
        ledger, job_id = ledger_at(settings.redis_url, model), job_of(task_id, model)
        if self.refuse_when_full:
            _refuse_if_full(ledger)
        request = request.model_copy(update={"lane": lane})
        texts = shards.texts_of(request)
        shape = _cut(request, texts, settings)
        fields = header(
            request,
            shape,
            model=model or settings.model,
            owner="",
            request_id=task_id,
            traceparent=tracing.traceparent(),
            result_ttl_ms=int(settings.result_ttl * 1000),
        )
        delay_s, expires_in_s = _times(envelope)
        whole = shards.encode(request, texts, shape)
        commit = calls.commit(
            job_id,
            {**fields, "task": envelope.encode()},
            entries=whole.count,
            max_backlog=settings.max_backlog,
            owner="",
            expires_in_ms=int(1000 * expires_in_s),
            idempotency=None,
            staged=whole.token,
            delay_ms=int(1000 * delay_s),
        )
        committed = ledger.submit(whole, commit)
        if committed.outcome not in ("created", "existing"):
            detail = f"the {lane} lane is full ({committed.about} shards); try again later"
            raise _overloaded("backlog_full", detail)


def _address(queue: str, settings: Settings) -> tuple[Lane, str | None]:
    """Lane and further model (None: the default) of a public queue.

    Raises: ValueError: it is none.
    """
    addresses = {
        queue_of(lane, model): (lane, model) for model in (None, *settings.models) for lane in Lane
    }
    if queue not in addresses:
        served = " or ".join(addresses)
        raise ValueError(
            f"queue: {queue!r} is not served; use {served} (RERANKQ_MODELS lists further models)"
        )
    return addresses[queue]


def _cut(request: JobRequest, texts: Sequence[str], settings: Settings) -> Cut:
    return cut(
        request.query,
        request.instruction,
        texts,
        shard_tokens=settings.shard_tokens,
        max_length=settings.max_length,
    )


def _refuse_if_full(ledger: Ledger) -> None:
    """Raises: Overloaded."""
    share = ledger.memory_share()
    if share > FULLEST_REDIS:
        limit = f"{FULLEST_REDIS:.0%}"
        raise _overloaded("memory_full", f"Redis is {share:.0%} full; the limit is {limit}")


def _overloaded(code: str, detail: str) -> Overloaded:
    return Overloaded(Problem(title="Too Many Requests", status=429, code=code, detail=detail))


def _times(envelope: Envelope) -> tuple[float, float]:
    """Seconds until it is to be done, and until it is given up."""
    delay = _seconds_until(envelope.headers.get("eta")) or 0.0
    expires = _seconds_until(envelope.headers.get("expires"))
    return delay, DEFAULT_EXPIRES_IN_S + delay if expires is None else expires


def _seconds_until(when: Any) -> float | None:
    """Of a header's ISO time; a millisecond if it has passed."""
    if when is None:
        return None
    moment = maybe_iso8601(when)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return float(max(0.001, (moment - datetime.now(UTC)).total_seconds()))
