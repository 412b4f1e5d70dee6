"""The workers as the front knows them: read at most once a second."""

from __future__ import annotations

import asyncio
import time

from rerankq.ledger.async_store import AsyncLedger
from rerankq.ledger.records import WorkerInfo

FRESH_S = 1.0


class Fleet:
    """The workers alive, cached, because every submission asks."""

    def __init__(self, ledger: AsyncLedger) -> None:
        self._ledger = ledger
        self._reading: asyncio.Task[list[WorkerInfo]] | None = None
        self._read_at = float("-inf")

    async def workers(self) -> list[WorkerInfo]:
        """Raises: redis.RedisError, to everyone who shared the read that failed."""
        if self._reading is None or time.monotonic() - self._read_at > FRESH_S:
            self._read_at = time.monotonic()
            self._reading = asyncio.create_task(self._ledger.workers())
        # Shielded: a request that goes away must not end it for the others.
        return await asyncio.shield(self._reading)

    async def ready(self) -> list[WorkerInfo]:
        return [worker for worker in await self.workers() if worker.state == "ready"]


def slowest_rate(workers: list[WorkerInfo]) -> float | None:
    """Tokens/s of the slowest one that has measured; a shard must suit any of them."""
    return min((w.tokens_per_s for w in workers if w.tokens_per_s > 0), default=None)


def total_rate(workers: list[WorkerInfo]) -> float | None:
    """Tokens/s of all together; None while nobody has measured."""
    return sum(worker.tokens_per_s for worker in workers) or None
