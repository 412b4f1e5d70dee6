"""Connections to Redis that fail in bounded time and never repeat a write by themselves.

redis-py retries ten times by default: one `INCR` through a freeze then counts twice, and a time-out
of half a second takes nine. Deadlines and repetition are the callers' own.
"""

from __future__ import annotations

from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

# Redis answered and refused, and may think otherwise later; any other refusal is a bug of ours.
PASSING_REFUSALS = (OutOfMemoryError, ReadOnlyError, MasterDownError)

WORKER_TIMEOUT_S = 5.0
API_TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 2.0


def _options(timeout_s: float) -> dict[str, Any]:
    return {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_keepalive": True,
        "health_check_interval": 10,
        # A hosted service's feature that a plain server answers with an error on every connect.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }


def connect(url: str) -> redis.Redis:
    """A blocking client for worker threads."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), **_options(WORKER_TIMEOUT_S))


def connect_async(url: str, *, max_connections: int = 256) -> redis.asyncio.Redis:
    """A client for one event loop; a call waits for a free connection rather than fail."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=max_connections,
        timeout=API_TIMEOUT_S,
        retry=AsyncRetry(NoBackoff(), 0),
        **_options(API_TIMEOUT_S),
    )
    return redis.asyncio.Redis(connection_pool=pool)
