"""Everything one API process holds, made once and handed to the routes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import asdict

from fastapi import Request

from api.auth import Keys
from api.fleet import Fleet
from api.joining import Joined
from api.submission import Submission
from api.waiting import Waiter
from api.webhooks import Webhooks
from rerankq import tls
from rerankq.ledger import calls
from rerankq.ledger.async_store import AsyncLedger
from rerankq.ledger.connection import connect_async
from rerankq.settings import Settings

log = logging.getLogger(__name__)

REAP_EVERY_S = 1.0
STOP_S = 2.0


class Front:
    """The parts, and their life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.api_keys, settings.api_keys_file)
        self._stopping = False
        self._redis = connect_async(settings.redis_url)
        self.ledger = AsyncLedger(self._redis)
        self.fleet = Fleet(self.ledger)
        self.waiter = Waiter(self.ledger)
        self.joined = Joined(self.ledger, self.waiter)
        self.webhooks = Webhooks(settings, self.ledger)
        self.submission = Submission(
            settings, self.ledger, self.fleet, webhooks=self.webhooks.enabled
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        duties = [self.waiter.run(), self._keep_house()]
        if self.webhooks.enabled:  # what is due is left to the processes that can sign it
            duties.append(self.webhooks.run())
        tasks = [asyncio.create_task(duty) for duty in duties]
        try:
            yield
        finally:
            self._stopping = True
            self.waiter.stop()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=STOP_S)
            await self._redis.aclose()

    async def _keep_house(self) -> None:
        """Give lost work back, end what is overdue (every process does, for all of them), and see
        how full Redis is."""
        call = calls.reap(int(self.settings.lease_seconds * 1000), self.settings.max_attempts)
        while not self._stopping:
            try:
                reaped = await self.ledger.run(call)
                if reaped.reclaimed or reaped.expired:
                    log.info("reaped", extra=asdict(reaped))
                self.submission.redis_memory = await self.ledger.memory_share()
            except Exception as error:  # whatever it is, the next one must come
                log.warning("no reap", extra={"reason": tls.reason(error)})
            await asyncio.sleep(REAP_EVERY_S)


def front(request: Request) -> Front:
    """Dependency: the process's parts."""
    result: Front = request.app.state.front
    return result
