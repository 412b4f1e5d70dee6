"""Batches straight in the ledger, for a machine that shares Redis and files with the workers."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from redis.exceptions import RedisError

from rerankq.bulk import storage
from rerankq.bulk.command import service
from rerankq.bulk.command.notes import Notes
from rerankq.bulk.command.order import Order
from rerankq.bulk.command.service import Capacity
from rerankq.bulk.command.state import BatchState, of_record
from rerankq.errors import APIError, ConnectionFailed, Overloaded, UsageError
from rerankq.ledger import batches
from rerankq.ledger.async_store import AsyncLedger
from rerankq.ledger.connection import connect, connect_async, may_pass
from rerankq.ledger.keys import Key, name, root_of, tag_of
from rerankq.schema import Problem
from rerankq.settings import Settings
from rerankq.status import JobStatus

T = TypeVar("T")

OWNER = ""  # as of jobs that are submitted without a key
RECENT = 100
FIRST_PAUSE_S = 0.25
DEAF_S = 1.0  # at most, when a connection was cut, before it is listened to again
TITLE = "Too Many Requests"


class ThroughRedis:
    """See `Service`.

    Args:
        model: whose ledger new batches go to; None: that of RERANKQ_MODEL.
        retry_for: seconds in which Redis is tried again when it does not answer.

    Raises: SettingsError; UsageError: no such model is served.
    """

    def __init__(self, settings: Settings, model: str | None, retry_for: float) -> None:
        self._settings = settings
        self._retry_for = retry_for
        self._further = _further(settings, model)

    def recent(self) -> Iterator[BatchState]:
        found = [
            record
            for further in (None, *self._settings.models)
            for _, _, record in self._asked(
                further, lambda ledger: ledger.newest_batches(OWNER, None, RECENT)
            )
            if record is not None
        ]
        return map(of_record, sorted(found, key=lambda record: -record.created))

    def check(self, order: Order) -> None:
        if not order.spec.version:
            url = storage.shown(order.spec.input)
            raise UsageError(f"{url}: it cannot be read from here: {_why_not(order.spec.input)}")

    def start(self, order: Order, key: str, notes: Notes, sent: Callable[[float], None]) -> str:
        batch_id = batches.new_batch_id(tag_of(self._further))
        fields = batches.header(
            order.spec,
            model=self._further or self._settings.model,
            owner=OWNER,
            result_ttl_ms=int(self._settings.result_ttl * 1000),
            metadata=service.marks(order),
        )
        call = batches.enlist(
            batch_id,
            fields,
            output=order.spec.output,
            owner=OWNER,
            expires_in_ms=int(order.expires_in * 1000),
            idempotency=(hashlib.sha256(f"bulk\0{key}".encode()).hexdigest(), order.fingerprint),
        )
        made = self._asked(self._further, lambda ledger: ledger.run(call))
        if made.outcome == "output_taken":
            detail = f"{made.about} is still writing to {storage.shown(order.spec.output)}"
            conflict = Problem(title="Conflict", status=409, code=made.outcome, detail=detail)
            raise APIError(conflict)
        if made.outcome not in ("created", "existing"):
            detail = f"the batches have {made.about} chunks open; try again later"
            raise Overloaded(Problem(title=TITLE, status=429, code="backlog_full", detail=detail))
        return made.about

    def state(self, batch_id: str) -> BatchState:
        further = self._of_batch(batch_id)
        record = self._asked(further, lambda ledger: ledger.batch(batch_id))
        if record is None or record.owner != OWNER:
            raise service.unknown(batch_id)
        return of_record(record)

    @contextmanager
    def listening(self, batch_id: str) -> Iterator[Callable[[float], bool]]:
        channel = name(Key.ENDED, batch_id, root_of(self._of_batch(batch_id)))
        with connect(self._settings.redis_url) as client, client.pubsub() as subscription:
            yield _Told(subscription, channel)

    def cancel(self, batch_id: str) -> BatchState:
        self.state(batch_id)
        call = batches.stop(batch_id, JobStatus.CANCELLED)
        self._asked(self._of_batch(batch_id), lambda ledger: ledger.run(call))
        return self.state(batch_id)

    def holds_output(self, state: BatchState) -> bool:
        return False

    def fetch(self, state: BatchState, order: Order) -> BatchState:
        return state  # the workers wrote it where it belongs

    def capacity(self, model: str | None) -> Capacity:
        further = _further(self._settings, model)
        workers = self._asked(further, lambda ledger: ledger.workers())
        ready = [one for one in workers if one.state == "ready"]
        rate = sum(one.tokens_per_s for one in ready)
        longest = min((one.max_length for one in ready), default=None)
        return Capacity(len(ready), rate or None, longest)

    def _of_batch(self, batch_id: str) -> str | None:
        tag = batches.tag_in_batch(batch_id)
        for further in (None, *self._settings.models):
            if tag == tag_of(further):
                return further
        raise service.unknown(batch_id)

    def _asked(
        self, further: str | None, question: Callable[[AsyncLedger], Coroutine[Any, Any, T]]
    ) -> T:
        """Raises: ConnectionFailed: Redis did not answer for `retry_for`."""

        async def ask() -> T:
            async with self._ledger(further) as ledger:
                return await question(ledger)

        deadline, pause = time.monotonic() + self._retry_for, FIRST_PAUSE_S
        while True:
            try:
                return asyncio.run(ask())
            except RedisError as error:
                if not may_pass(error):
                    raise
                pause *= random.uniform(1.5, 2.0)
                if time.monotonic() + pause > deadline:
                    raise ConnectionFailed(f"cannot reach Redis: {error}") from None
            time.sleep(pause)

    @asynccontextmanager
    async def _ledger(self, further: str | None) -> AsyncIterator[AsyncLedger]:
        async with connect_async(self._settings.redis_url) as client:
            yield AsyncLedger(client, root_of(further))


class _Told:
    """Waits on the channel of one batch; see `Service.listening`."""

    def __init__(self, subscription: Any, channel: str) -> None:
        self._subscription = subscription
        self._channel = channel
        self._listens = False

    def __call__(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        try:
            if not self._subscription.subscribed:
                self._subscription.subscribe(self._channel)
            while (left := until - time.monotonic()) > 0:
                message = self._subscription.get_message(timeout=left)
                if message is not None:
                    # Once it listens, too: the batch may have ended before, so the next look is at
                    # once.
                    self._listens = True
                    break
        except RedisError:
            left = until - time.monotonic()
            time.sleep(max(0.0, min(left, DEAF_S) if self._listens else left))
            self._listens = False
            self._subscription.reset()
        return self._listens


def _further(settings: Settings, model: str | None) -> str | None:
    """The further model a name means; None: the default one.

    Raises: UsageError.
    """
    name = model or settings.model
    if name in settings.models:
        return name
    if name == settings.model or name in settings.model_aliases or "*" in settings.model_aliases:
        return None
    served = ", ".join([settings.model, *settings.model_aliases, *settings.models])
    raise UsageError(
        f"--model: {name!r} is not served here; served: {served} "
        "(by RERANKQ_MODEL, RERANKQ_MODEL_ALIASES and RERANKQ_MODELS)"
    )


def _why_not(url: str) -> str:
    try:
        storage.stat(url)
    except OSError as error:
        return str(error)
    return "it was away a moment ago"
