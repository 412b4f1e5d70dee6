"""Files of callers: bytes in the service's storage, records in the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import redis.asyncio

from api.problems import Refusal
from api.storing import blocks, stored
from rerankq.bulk import storage
from rerankq.ledger.files import FileRecord, Files
from rerankq.settings import Settings

MOST_FILE_BYTES = 10 << 30
KEPT_RESULT_TTLS = 30  # as often RERANKQ_RESULT_TTL a file is kept if its maker names no time
PARTS = "batch_parts"  # the purpose of a folder that no caller sees


class FileStore:
    """Takes files in, gives them out, and lets them go."""

    def __init__(self, settings: Settings, client: redis.asyncio.Redis) -> None:
        self._url = settings.storage_url
        self._kept_ms = int(settings.result_ttl * 1000) * KEPT_RESULT_TTLS
        self.records = Files(client)

    @property
    def url(self) -> str:
        """Raises: Refusal: 501."""
        if self._url is None:
            detail = "this service stores no files: RERANKQ_STORAGE_URL is not set"
            raise Refusal(501, "storage_not_configured", detail)
        return self._url

    def kept_ms(self, seconds: int | None) -> int:
        """How long a file is kept. Args: seconds: as its maker wants it."""
        return self._kept_ms if seconds is None else seconds * 1000

    def place(self, owner: str, file_id: str) -> str:
        """Where an uploaded file's bytes lie. Nothing that a caller chose is in it as it is."""
        folder = hashlib.sha256(owner.encode()).hexdigest()[:16]
        return storage.join(self.url, f"files/{folder}/{file_id}")

    async def readable(self, file_id: str, owner: str) -> FileRecord:
        """Raises: Refusal: 404."""
        record = await self.records.get(file_id, owner)
        if record is None:
            raise unknown(file_id)
        return record

    async def content(self, record: FileRecord) -> tuple[int, AsyncIterator[bytes]]:
        """How many bytes there are, and the bytes.

        Raises: Refusal: 404, 503.
        """
        try:
            found = await stored(storage.stat, record.url)
        except FileNotFoundError:
            raise unknown(record.id) from None
        return found.size, blocks(record.url)

    async def remove(self, record: FileRecord) -> None:
        """Bytes first: what is left of a file when this fails is then found again.

        Raises: Refusal: 503.
        """
        delete = storage.delete_tree if record.purpose == PARTS else storage.delete
        await stored(delete, record.url)
        await self.records.forget(record)

    async def clean(self) -> int:
        """Let go of files whose time is over; how many. Any number of processes may do it."""
        removed = 0
        for record in await self.records.over():
            try:
                await self.remove(record)
                removed += 1
            except Refusal:
                await self.records.put_off(record)
        return removed


def unknown(file_id: str) -> Refusal:
    shown = file_id[:80].encode(errors="replace").decode()
    detail = f"no file {shown!r}: it never was, it belongs to another key, or its time is over"
    return Refusal(404, "not_found", detail, field="file_id")
