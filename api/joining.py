"""Synchronous requests that wait for the same job, and what becomes of it when they are gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from redis.exceptions import RedisError
from starlette.types import Receive

from api.submission import Submitted
from api.waiting import Waiter
from rerankq.ledger import calls
from rerankq.ledger.async_store import AsyncLedger
from rerankq.ledger.records import JobRecord

COMES_BACK_S = 2.0  # a caller that lost its connection may try again


class CallerGone(Exception):
    """Nobody is there to be answered."""


class Joined:
    """Waits for a job on behalf of requests, each of which may leave.

    Who waits is in the ledger, because the requests may be with several processes. A process that
    dies takes its requests along uncounted: their jobs are then scored for nobody, once.
    """

    def __init__(self, ledger: AsyncLedger, waiter: Waiter) -> None:
        self._ledger = ledger
        self._waiter = waiter
        self._leaving: set[asyncio.Task[None]] = set()

    async def until_final(
        self, submitted: Sequence[Submitted], seconds: float, receive: Receive
    ) -> list[JobRecord | None]:
        """A request's jobs once all are final, or as they are after `seconds`.

        Args:
            receive: what its caller sends, which is nothing but that it leaves.

        Raises: CallerGone: each is cancelled unless somebody joins it within `COMES_BACK_S`.
        """
        waiting = asyncio.create_task(self._all_final(submitted, seconds))
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
        finally:
            for task in (waiting, gone):
                task.cancel()
        leaving = asyncio.create_task(self._leave_later(submitted))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)
        raise CallerGone

    async def give_up(self, submitted: Sequence[Submitted]) -> None:
        """Nobody will answer from them: cancel each unless others still wait for it."""
        for one in submitted:
            await self._ledger.run(calls.leave(one.job_id, one.watcher, cancel=True))

    async def _all_final(
        self, submitted: Sequence[Submitted], seconds: float
    ) -> list[JobRecord | None]:
        waits = (self._waiter.until_final(one.job_id, seconds, one.made_at) for one in submitted)
        return await asyncio.gather(*waits)

    async def _leave_later(self, submitted: Sequence[Submitted]) -> None:
        # Failing to leave costs the worker's time and nothing else.
        with contextlib.suppress(RedisError):
            for one in submitted:
                await self._ledger.run(calls.leave(one.job_id, one.watcher, cancel=False))
            await asyncio.sleep(COMES_BACK_S)
            await self.give_up(submitted)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
