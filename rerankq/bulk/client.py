"""What `Client` and `AsyncClient` do with files and batches (`/v1/files`, `/v1/batches`)."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from rerankq.bulk import local
from rerankq.bulk.api import BatchList, BatchObject, FileDeleted, FileObject
from rerankq.errors import ConnectionFailed
from rerankq.requests import Requests
from rerankq.transport import parsed


class BulkCalls:
    """Mixed into `Client`; raises what its other methods raise, and OSError for local files."""

    _calls: Requests

    def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        raise NotImplementedError

    def upload_file(
        self,
        path: str | Path,
        purpose: str = "batch",
        *,
        told: Callable[[int], None] | None = None,
    ) -> FileObject:
        """Send a file up as it is read, whatever its size.

        Args:
            told: hears how many bytes of it are on their way.
        """
        with _Sent(path, told) as file:
            return parsed(FileObject, self._send(self._calls.upload(file, file.title, purpose)))

    def file(self, file_id: str) -> FileObject:
        return parsed(FileObject, self._send(self._calls.file(file_id)))

    def download_file(self, file_id: str, to: str | Path) -> None:
        """Fetch a file's content; at `to` there is the old file or all of the new one."""
        response = self._send(self._calls.content(file_id), stream=True)
        try:
            with local.writing(_absolute(to)) as file:
                for data in response.iter_bytes():
                    file.write(data)
        except httpx.TransportError as error:
            raise _broken_off(file_id, error) from None
        finally:
            response.close()

    def delete_file(self, file_id: str) -> None:
        parsed(FileDeleted, self._send(self._calls.delete_file(file_id)))

    def create_batch(self, *, idempotency_key: str | None = None, **fields: Any) -> BatchObject:
        """Have a whole file scored; once this returns the batch is durable.

        Args:
            idempotency_key: the same key and fields give the same batch; default: a fresh one.
            fields: of `BatchRequest`: input_file_id or input_uri, input_format, top_k, ...
        """
        return parsed(BatchObject, self._send(self._calls.create_batch(fields, idempotency_key)))

    def batch(self, batch_id: str) -> BatchObject:
        return parsed(BatchObject, self._send(self._calls.batch(batch_id)))

    def batches(self) -> Iterator[BatchObject]:
        """All batches that are still kept, newest first."""
        after: str | None = None
        while True:
            page = parsed(BatchList, self._send(self._calls.batches(after)))
            yield from page.data
            if not page.has_more or not page.data:
                return
            after = page.last_id or page.data[-1].id

    def cancel_batch(self, batch_id: str) -> BatchObject:
        """Stop a batch; what was scored is written first. One that is final stays as it is."""
        return parsed(BatchObject, self._send(self._calls.cancel_batch(batch_id)))


class AsyncBulkCalls:
    """The same, awaited; mixed into `AsyncClient`."""

    _calls: Requests

    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        raise NotImplementedError

    async def upload_file(
        self,
        path: str | Path,
        purpose: str = "batch",
        *,
        told: Callable[[int], None] | None = None,
    ) -> FileObject:
        """See `Client.upload_file`."""
        file = await asyncio.to_thread(_Sent, path, told)
        with file:
            request = self._calls.upload(file, file.title, purpose)
            return parsed(FileObject, await self._send(request))

    async def file(self, file_id: str) -> FileObject:
        return parsed(FileObject, await self._send(self._calls.file(file_id)))

    async def download_file(self, file_id: str, to: str | Path) -> None:
        """See `Client.download_file`."""
        response = await self._send(self._calls.content(file_id), stream=True)
        try:
            with local.writing(_absolute(to)) as file:
                async for data in response.aiter_bytes():
                    await asyncio.to_thread(file.write, data)
        except httpx.TransportError as error:
            raise _broken_off(file_id, error) from None
        finally:
            await response.aclose()

    async def delete_file(self, file_id: str) -> None:
        parsed(FileDeleted, await self._send(self._calls.delete_file(file_id)))

    async def create_batch(
        self, *, idempotency_key: str | None = None, **fields: Any
    ) -> BatchObject:
        """See `Client.create_batch`."""
        request = self._calls.create_batch(fields, idempotency_key)
        return parsed(BatchObject, await self._send(request))

    async def batch(self, batch_id: str) -> BatchObject:
        return parsed(BatchObject, await self._send(self._calls.batch(batch_id)))

    async def batches(self) -> AsyncIterator[BatchObject]:
        """See `Client.batches`."""
        after: str | None = None
        while True:
            page = parsed(BatchList, await self._send(self._calls.batches(after)))
            for batch in page.data:
                yield batch
            if not page.has_more or not page.data:
                return
            after = page.last_id or page.data[-1].id

    async def cancel_batch(self, batch_id: str) -> BatchObject:
        """See `Client.cancel_batch`."""
        return parsed(BatchObject, await self._send(self._calls.cancel_batch(batch_id)))


class _Sent(io.FileIO):
    """A file that tells how far it was read."""

    def __init__(self, path: str | Path, told: Callable[[int], None] | None) -> None:
        super().__init__(path)
        self.title = Path(path).name
        self._told = told

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size)
        if self._told is not None:
            self._told(self.tell())
        return data or b""


def _absolute(path: str | Path) -> str:
    return str(Path(path).absolute())


def _broken_off(file_id: str, error: httpx.TransportError) -> ConnectionFailed:
    return ConnectionFailed(f"the content of {file_id} broke off: {error}")
