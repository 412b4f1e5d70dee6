"""Everything one API process holds, made once and handed to the routes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import asdict

from fastapi import Request

from api.auth import Keys
from api.batches import BatchMaker
from api.files import FileStore
from api.pools import Pool, Pools
from api.rates import Rates
from rerankq import tls
from rerankq.ledger import calls
from rerankq.ledger.connection import connect_async
from rerankq.settings import Settings

log = logging.getLogger(__name__)

REAP_EVERY_S = 1.0
CLEAN_EVERY_S = 5.0
STOP_S = 2.0


class Front:
    """The parts, and their life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.keys = Keys(settings.api_keys, settings.api_keys_file)
        self._stopping = False
        self._redis = connect_async(settings.redis_url)
        self.rates = Rates(settings.rate_limit, self._redis) if settings.rate_limit else None
        self.pools = Pools(settings, self._redis)
        self.files = FileStore(settings, self._redis)
        self.batches = BatchMaker(settings, self.files)
        self._strays: set[str] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        duties = [self._watch_memory()]
        if self.settings.models:
            duties.append(self._watch_workers())
        if self.settings.storage_url:
            duties.append(self._clean_files())
        for pool in self.pools.all:
            duties += [pool.waiter.run(), self._keep_house(pool)]
            if pool.webhooks.enabled:  # what is due is left to the processes that can sign it
                duties.append(pool.webhooks.run())
        tasks = [asyncio.create_task(duty) for duty in duties]
        try:
            yield
        finally:
            self._stopping = True
            for pool in self.pools.all:
                pool.waiter.stop()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=STOP_S)
            await self._redis.aclose()

    def end_waits(self, seconds: float) -> None:
        """The process is being stopped: who still waits for a job in so many seconds is told so."""
        for pool in self.pools.all:
            pool.waiter.end_waits(time.monotonic() + seconds)

    async def _keep_house(self, pool: Pool) -> None:
        """Give lost work back and end what is overdue: every process does, for all of them."""
        call = calls.reap(int(self.settings.lease_seconds * 1000), self.settings.max_attempts)
        while not self._stopping:
            try:
                reaped = await pool.ledger.run(call)
                if reaped.reclaimed or reaped.expired:
                    log.info("reaped", extra=asdict(reaped))
            except Exception as error:  # whatever it is, the next one must come
                log.warning("no reap", extra={"reason": tls.reason(error)})
            await asyncio.sleep(REAP_EVERY_S)

    async def _clean_files(self) -> None:
        """Let go of files whose time is over: every process does, and none minds the others."""
        while not self._stopping:
            try:
                if removed := await self.files.clean():
                    log.info("files removed", extra={"files": removed})
            except Exception as error:  # as above
                log.warning("files not removed", extra={"reason": tls.reason(error)})
            await asyncio.sleep(CLEAN_EVERY_S)

    async def _watch_memory(self) -> None:
        while not self._stopping:
            try:
                share = await self.pools.default.ledger.memory_share()
                for pool in self.pools.all:
                    pool.submission.redis_memory = share
            except Exception as error:  # as above
                log.warning("memory not known", extra={"reason": tls.reason(error)})
            await asyncio.sleep(REAP_EVERY_S)

    async def _watch_workers(self) -> None:
        """Tell people, once, of each that scores the default model's jobs by a further one."""
        while not self._stopping:
            try:
                for worker in await self.pools.default.fleet.workers():
                    if worker.model in self.settings.models and worker.id not in self._strays:
                        self._strays.add(worker.id)
                        fields = {"worker": worker.id, "model": worker.model, "host": worker.host}
                        log.error("a further model's worker lacks RERANKQ_MODELS", extra=fields)
            except Exception as error:  # as above
                log.warning("workers not known", extra={"reason": tls.reason(error)})
            await asyncio.sleep(REAP_EVERY_S)


async def front(request: Request) -> Front:
    """Dependency: the process's parts."""
    result: Front = request.app.state.front
    return result
