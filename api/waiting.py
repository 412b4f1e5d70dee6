"""Waiting for jobs to end: one subscription a process wakes every request that waits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from api import metrics
from rerankq import tls
from rerankq.ledger.async_store import AsyncLedger
from rerankq.ledger.keys import Key
from rerankq.ledger.records import JobRecord

log = logging.getLogger(__name__)

_READ_S = 5.0  # how long one read of the subscription blocks; also how fast it notices a stop
_SILENT_S = 2 * _READ_S + 2  # without even an answer to a ping the connection is dead
_RECONNECT_S = 0.5
_REMEMBERED = 10_000  # ends of jobs, more than any process hears while one is being committed


class Waiter:
    """Tells requests that their job is final. Nobody polls Redis."""

    def __init__(self, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        self._stopping = False
        self._ends_at = float("inf")
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._since = float("inf")  # when the subscription that stands began to hear
        self._ended: dict[str, None] = {}  # jobs by their ends, as they were heard of

    async def until_final(
        self, job_id: str, seconds: float, made_at: float | None = None
    ) -> JobRecord | None:
        """The job once it is final, or as it is after `seconds`; None if there is no such job.

        At the moment given to `end_waits` it is as it is, too.

        It is read after the event is set up and before it is waited for, so an end between the two
        cannot be missed; unless its end would have been heard already.

        Args:
            made_at: when it was about to be made, by `time.monotonic`; None: longer ago.
        """
        deadline = time.monotonic() + seconds
        with self._listening(job_id) as event:
            if not self._all_heard(job_id, made_at):
                event.set()
            while True:
                until = min(deadline, self._ends_at)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(until - time.monotonic()):
                        await event.wait()
                event.clear()
                job = await self._ledger.job(job_id)
                over = time.monotonic() >= min(deadline, self._ends_at)
                if job is None or job.status.final or over:
                    return job

    def _all_heard(self, job_id: str, made_at: float | None) -> bool:
        """Whether whatever is to be heard of the job will come, and nothing has."""
        return made_at is not None and made_at > self._since and job_id not in self._ended

    @contextlib.contextmanager
    def _listening(self, job_id: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        try:
            yield event
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def end_waits(self, moment: float) -> None:
        """The process is being stopped: no wait goes on after this, by `time.monotonic`."""
        self._ends_at = moment
        self._wake_all()

    @property
    def ending(self) -> bool:
        """Waits are ended before their time."""
        return self._ends_at < float("inf")

    def stop(self) -> None:
        """Before the task is cancelled: redis-py can swallow a cancellation while it connects."""
        self._stopping = True

    async def run(self) -> None:
        """Listen until stopped; after every reconnection all that is waited for is read anew."""
        while not self._stopping:
            try:
                await self._listen()
            except Exception as error:  # whatever it is, the next try must come
                self._since = float("inf")
                log.warning("subscription lost", extra={"reason": tls.reason(error)})
                await asyncio.sleep(_RECONNECT_S)

    async def _listen(self) -> None:
        async with self._ledger.subscription() as subscription:
            await subscription.subscribe(self._ledger.name(Key.DONE))
            heard = time.monotonic()
            while not self._stopping:
                message = await subscription.get_message(timeout=_READ_S)
                if message is not None:
                    heard = time.monotonic()
                elif time.monotonic() - heard > _SILENT_S:
                    raise TimeoutError  # a peer that vanished closes nothing
                else:
                    await subscription.ping()
                self._hear(message)

    def _hear(self, message: dict[str, Any] | None) -> None:
        kind = message["type"] if message else None
        if message and kind == "message":
            self._on_done(message["data"].decode())
        elif kind == "subscribe":
            self._since = time.monotonic()
            self._wake_all()  # only now is nothing missed that ends from here on

    def _on_done(self, text: str) -> None:
        job_id, _, lane, milliseconds, *_ = text.split()
        metrics.job_ended(lane, int(milliseconds) / 1000)
        self._ended[job_id] = None
        if len(self._ended) > _REMEMBERED:
            del self._ended[next(iter(self._ended))]
        for event in self._waiting.get(job_id, ()):
            event.set()

    def _wake_all(self) -> None:
        for events in self._waiting.values():
            for event in events:
                event.set()
