"""The storage from the event loop: each call on a thread, and its failures as refusals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from api.forms import Write
from api.problems import Refusal
from rerankq.bulk import storage

log = logging.getLogger(__name__)

RETRY_S = 5
READ_BYTES = 1 << 20
# Of its own: a storage that hangs must not hold the threads that jobs are encoded on.
_THREADS = ThreadPoolExecutor(32, "storage")

P = ParamSpec("P")
T = TypeVar("T")


async def on_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As `asyncio.to_thread`."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, partial(call, *args, **kwargs))


async def stored(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Raises: Refusal: 503. FileNotFoundError: there is no such file.
    """
    try:
        return await on_thread(call, *args, **kwargs)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unavailable(error) from error


def unavailable(error: OSError) -> Refusal:
    log.error("storage failed", extra={"reason": str(error)})
    detail = "the storage does not answer as it should; try again"
    return Refusal(503, "storage_unavailable", detail, retry_after=RETRY_S)


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Write]:
    """A new file, published when the block ends; after an exception there is none.

    Raises: Refusal: 503.
    """
    manager = storage.writing(url)
    file = await stored(manager.__enter__)

    async def write(data: bytes) -> None:
        await stored(file.write, data)

    try:
        yield write
    except BaseException as error:
        # Its own task: the request's may be cancelled, and nothing half-written shall stay.
        given_up = on_thread(manager.__exit__, type(error), error, error.__traceback__)
        await asyncio.shield(asyncio.create_task(given_up))
        raise
    await stored(manager.__exit__, None, None, None)


async def blocks(url: str) -> AsyncIterator[bytes]:
    """A file's bytes."""
    file = await on_thread(storage.open_at, url, 0)
    try:
        while block := await on_thread(file.read, READ_BYTES):
            yield block
    finally:
        await asyncio.shield(asyncio.create_task(on_thread(file.close)))
