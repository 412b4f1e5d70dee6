"""From a valid request to a durable job: cut, stage, commit."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from api.addresses import is_private_literal
from api.fleet import Fleet, slowest_rate, total_rate
from api.problems import Refusal
from rerankq import logs, tracing
from rerankq.ledger import calls, shards, verbs
from rerankq.ledger.async_store import AsyncLedger
from rerankq.ledger.keys import FULLEST_REDIS
from rerankq.ledger.records import WorkerInfo, header, new_job_id
from rerankq.ledger.sharding import cut
from rerankq.ledger.shards import Shards, texts_of
from rerankq.schema import JobRequest
from rerankq.settings import Settings
from rerankq.status import Lane

DEFAULT_EXPIRES_IN_S = 24 * 3600
INLINE_BYTES = 64 * 1024  # cutting, compressing and hashing less takes no longer than a thread hop
JOIN_S = 5.0  # how long after a synchronous request another one like it may join its job
RETRY_FULL_S = 5  # until a drain rate is known
NOT_KEPT = "no texts are kept of what its caller did wrong, as its error says; submit it again"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that is durable.

    Attributes:
        created: false when the idempotency key was seen before, or another request was joined.
        watcher: the name under which a request that joined watches the job.
        made_at: when it was about to be made, by `time.monotonic`; None: it was there already.
    """

    job_id: str
    created: bool
    watcher: str
    made_at: float | None


class Submission:
    """Takes jobs in for one model, into its ledger."""

    def __init__(
        self,
        settings: Settings,
        ledger: AsyncLedger,
        fleet: Fleet,
        *,
        model: str,
        tag: str,
        webhooks: bool,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._fleet = fleet
        self._model = model
        self._tag = tag
        self._webhooks = webhooks
        self.redis_memory = 0.0  # share of its limit, kept up to date by the front

    async def submit(
        self,
        request: JobRequest,
        *,
        owner: str,
        idempotency_key: str | None = None,
        join: bool = False,
    ) -> Submitted:
        """Make the job durable and wake the workers.

        Args:
            join: an equal request of the same owner within `JOIN_S` is the same job.

        Raises:
            Refusal: 413 count, 422 instruction, webhook or key, 429 backlog or memory,
                503 upload too slow.
        """
        workers = await self._checked(request)
        named = partial(_idempotency, request, owner, idempotency_key)
        texts = texts_of(request)
        large = sum(map(len, texts)) >= INLINE_BYTES
        job_shards = await _aside(large, partial(self._shards, request, texts, workers))
        asked = idempotency_key is not None or join
        idempotency = await _aside(large, named) if asked else None
        job_id, made_at = new_job_id(self._tag), time.monotonic()
        commit = calls.commit(
            job_id,
            self._header(request, job_shards, owner),
            entries=job_shards.count,
            max_backlog=self._settings.max_backlog,
            owner=owner,
            expires_in_ms=int((request.expires_in or DEFAULT_EXPIRES_IN_S) * 1000),
            idempotency=idempotency,
            staged=job_shards.token,
            join_ms=int(JOIN_S * 1000) if join else 0,
        )
        committed = await self._ledger.submit(job_shards, commit)
        if committed.outcome not in ("created", "existing"):
            await self._refuse(committed, request.lane, workers)
        created = committed.outcome == "created"
        return Submitted(committed.about, created, job_id, made_at if created else None)

    async def _checked(self, request: JobRequest) -> list[WorkerInfo]:
        """The workers that are ready. Raises: Refusal: 413, 422, 429."""
        self.check_count(len(request.documents))
        self._check_webhook(request)
        self.check_memory()
        workers = await self._fleet.ready()
        self.check_instruction(request.instruction, workers)
        return workers

    async def retry(self, job_id: str) -> str:
        """Make a new job of what was not scored of a failed one; its id.

        Raises:
            Refusal: 404 job, 409 not failed or its texts not kept, 429 backlog or memory.
        """
        self.check_memory()
        call = verbs.retry(job_id, new_job_id(self._tag), self._settings.max_backlog)
        retried = await self._ledger.run(call)
        if retried.outcome == "full":
            job = await self._ledger.job(job_id)
            lane = job.lane if job else Lane.BULK
            raise await self._full(lane, retried.about, await self._fleet.ready())
        if retried.outcome == "not_failed":
            detail = f"job {job_id} cannot be retried: it is {retried.about}"
            raise Refusal(409, "not_failed", detail, field="job_id")
        if retried.outcome == "gone":
            detail = f"job {job_id} cannot be retried: {NOT_KEPT}"
            raise Refusal(409, "not_kept", detail, field="job_id")
        return retried.about

    def check_memory(self) -> None:
        """Raises: Refusal: 429."""
        if self.redis_memory > FULLEST_REDIS:
            share, limit = f"{self.redis_memory:.0%}", f"{FULLEST_REDIS:.0%}"
            detail = f"the queue's Redis is {share} full; the limit is {limit}"
            raise Refusal(429, "memory_full", detail, limit=FULLEST_REDIS, retry_after=RETRY_FULL_S)

    def _check_webhook(self, request: JobRequest) -> None:
        if request.webhook_url is not None and not self._webhooks:
            detail = "webhook_url: this service sends no webhooks; poll or wait for the job"
            raise Refusal(422, "webhooks_disabled", detail, field="webhook_url")
        if request.webhook_url is not None and not self._settings.webhook_allow_private:
            host = urlsplit(request.webhook_url).hostname or ""
            if is_private_literal(host):  # of a name it is known when it is looked up
                detail = f"webhook_url: {host} is not a public address"
                raise Refusal(422, "invalid_request", detail, field="webhook_url")

    def check_count(self, count: int, field: str = "documents") -> None:
        """Raises: Refusal: 413."""
        limit = self._settings.max_documents
        if count > limit:
            detail = f"{field}: {count} given; the limit is {limit} a job"
            raise Refusal(413, "too_large", detail, field=field, limit=limit)

    def check_instruction(self, given: str | None, workers: Sequence[WorkerInfo]) -> None:
        """Raises: Refusal: 422."""
        if given is not None and workers and not workers[0].instruction:
            detail = f"instruction: {self._model} takes no instruction"
            raise Refusal(422, "instruction_not_supported", detail, field="instruction")

    def _header(self, request: JobRequest, job_shards: Shards, owner: str) -> dict[str, calls.Arg]:
        return header(
            request,
            job_shards.cut,
            model=self._model,
            owner=owner,
            request_id=logs.request_id.get(),
            traceparent=tracing.traceparent(),
            result_ttl_ms=int(self._settings.result_ttl * 1000),
        )

    def _shards(self, request: JobRequest, texts: list[str], workers: list[WorkerInfo]) -> Shards:
        shape = cut(
            request.query,
            request.instruction,
            texts,
            shard_tokens=self._settings.shard_tokens,
            max_length=min([self._settings.max_length, *(w.max_length for w in workers)]),
            tokens_per_s=slowest_rate(workers),
        )
        return shards.encode(request, texts, shape)

    async def _refuse(
        self, committed: calls.Committed, lane: Lane, workers: list[WorkerInfo]
    ) -> None:
        if committed.outcome == "conflict":
            detail = "Idempotency-Key: it was used for another body"
            raise Refusal(422, "idempotency_conflict", detail, field="Idempotency-Key")
        if committed.outcome == "unstaged":
            detail = "the documents took too long to reach the queue; try again"
            raise Refusal(503, "queue_unavailable", detail, retry_after=1)
        raise await self._full(lane, committed.about, workers)

    async def _full(self, lane: Lane, shards: str, workers: list[WorkerInfo]) -> Refusal:
        limit = self._settings.max_backlog
        detail = f"the {lane} lane holds {shards} shards; the limit is {limit}"
        tokens = (await self._ledger.lane(lane)).tokens
        return Refusal(
            429,
            "backlog_full",
            detail,
            field="lane",
            limit=limit,
            retry_after=_time_for_room(tokens, total_rate(workers)),
        )


async def _aside(large: bool, compute: Callable[[], T]) -> T:
    """On a thread if it is large: to hash a body of 50 MB takes half a second."""
    return await asyncio.to_thread(compute) if large else compute()


def _time_for_room(backlog_tokens: int, tokens_per_s: float | None) -> int:
    """Seconds until a tenth of the backlog is gone, 1 to 60."""
    if tokens_per_s is None:
        return RETRY_FULL_S
    return min(60, max(1, math.ceil(0.1 * backlog_tokens / tokens_per_s)))


def _idempotency(request: JobRequest, owner: str, key: str | None) -> tuple[str, str]:
    """What names the request, and its body's digest; without a key the body is its name."""
    body = hashlib.sha256(request.model_dump_json(exclude_defaults=True).encode()).hexdigest()
    named = f"{owner}\0{key}" if key is not None else f"\0body\0{owner}\0{body}"
    return hashlib.sha256(named.encode()).hexdigest(), body
