"""Connections to Redis that fail in bounded time and never repeat a write by themselves.

redis-py retries ten times by default: one `INCR` through a freeze then counts twice, and a time-out
of half a second takes nine. Deadlines and repetition are the callers' own.
"""

from __future__ import annotations

import re
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry

# "Not now": Redis is full, demoted, cut off, loading, or its disk is full. redis-py has classes for
# some of these codes and takes the code out of their text; Redis 6.2 wraps what a script ran into
# into an error of its own, which has the code in its text.
_PASSING_ERRORS = (MasterDownError, OutOfMemoryError, ReadOnlyError)
_PASSING_CODES = re.compile(
    r"\b(OOM|READONLY|MASTERDOWN|NOREPLICAS|MISCONF|LOADING|BUSY|TRYAGAIN|CLUSTERDOWN)\b"
)

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


def may_pass(error: RedisError) -> bool:
    """Whether the same call may succeed later: no answer, or a refusal for now.

    Any other refusal is a bug of ours.
    """
    if not isinstance(error, ResponseError) or isinstance(error, _PASSING_ERRORS):
        return True
    return bool(_PASSING_CODES.search(str(error)))


def is_full(error: RedisError) -> bool:
    """Whether Redis has no memory for what it was asked to write."""
    return isinstance(error, OutOfMemoryError) or bool(re.search(r"\bOOM\b", str(error)))


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
    return redis.asyncio.Redis.from_pool(pool)  # which closes it with itself
