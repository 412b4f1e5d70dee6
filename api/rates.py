"""How often one caller may bring work: counted in Redis, so all processes and replicas share it."""

from __future__ import annotations

import math
import time
from ipaddress import IPv6Address, ip_address, ip_network

import redis.asyncio
from limits import RateLimitItem, parse_many
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Receive, Scope, Send

from api.auth import NOBODY
from api.problems import Refusal, away, refused
from rerankq.errors import SettingsError
from rerankq.ledger.connection import is_full
from rerankq.ledger.keys import Key, name

LONGEST_WINDOW_S = 366 * 86_400
OF_ONE_SITE = 64  # bits of an IPv6 address that a network hands out; the rest is the caller's own

# What POST does besides bringing work: an operator's verb, and taking work back.
_VERBS = ("/v1/lanes/", "/v1/workers/")
_TAKES_BACK = "/cancel"


class Rates:
    """Counts what callers bring, by one or several limits at once.

    Two counters a caller and limit, whatever the limit is (a sliding window, with the one before it
    weighted): a list of times would grow with it, and a fixed window lets through twice as many
    around its edge.

    Args:
        notation: of the package `limits`, e.g. `100/second; 5000/minute`.
        client: whose connections it uses, with all their options.

    Raises: SettingsError: the notation cannot be read, or allows nothing.
    """

    def __init__(self, notation: str, client: redis.asyncio.Redis) -> None:
        # The shortest first: what is refused by it must not use up the longer ones.
        self._limits = sorted(_limits(notation), key=RateLimitItem.get_expiry)
        storage = RedisStorage(
            "redis://",  # says nothing, since the pool says it all
            implementation="redispy",
            key_prefix=name(Key.RATE),
            connection_pool=client.connection_pool,  # type: ignore[arg-type]
        )
        self._windows = SlidingWindowCounterRateLimiter(storage)

    async def refusal(self, *caller: str) -> Refusal | None:
        """Count a call; the refusal if it is one too many.

        Raises: redis.RedisError.
        """
        for limit in self._limits:
            if not await self._windows.hit(limit, *caller):
                free_at = (await self._windows.get_window_stats(limit, *caller)).reset_time
                return _refusal(limit, max(1, math.ceil(free_at - time.time())))
        return None


class RateLimit:
    """Refuses a call that brings work too soon, before any of its body is read."""

    def __init__(self, app: ASGIApp, rates: Rates) -> None:
        self._app = app
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and brings_work(scope):
            try:
                refusal = await self._rates.refusal(*caller(scope))
            except RedisError as error:
                if not is_full(error):  # which the call itself is told of, in its own words
                    await away(error)(scope, receive, send)
                    return
                refusal = None
            if refusal is not None:
                await refused(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def brings_work(scope: Scope) -> bool:
    path: str = scope["path"]
    return (
        scope["method"] == "POST" and not path.startswith(_VERBS) and not path.endswith(_TAKES_BACK)
    )


def caller(scope: Scope) -> tuple[str, str]:
    """By whose key it is; while there are no keys, by its address.

    All at once would let one of them take everybody's share.
    """
    owner: str = scope.get("owner", NOBODY)
    if owner != NOBODY:
        return "key", owner
    host, _ = scope.get("client") or ("", 0)  # none of a Unix socket
    return "address", _site(host)


def _site(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    mapped = address.ipv4_mapped
    return str(mapped or ip_network((address, OF_ONE_SITE), strict=False))


def _limits(notation: str) -> list[RateLimitItem]:
    try:
        limits = parse_many(notation)
    except ValueError:
        raise _unusable(notation, "must be such as `100/second; 5000/minute`") from None
    for limit in limits:
        if limit.amount < 1:
            raise _unusable(notation, f"{limit} allows nothing")
        if limit.get_expiry() > LONGEST_WINDOW_S:
            raise _unusable(notation, f"{limit}: at most a year")
    return limits


def _unusable(notation: str, why: str) -> SettingsError:
    return SettingsError(f"RERANKQ_RATE_LIMIT={notation!r}: {why}")


def _refusal(limit: RateLimitItem, seconds: int) -> Refusal:
    detail = f"more calls than {limit} by this caller; try again in {seconds} s"
    return Refusal(429, "rate_limited", detail, limit=str(limit), retry_after=seconds)
