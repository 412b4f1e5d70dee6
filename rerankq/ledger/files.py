"""Files in the ledger: who owns one, what it is called, where its bytes lie, when they go."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import redis.asyncio

from rerankq.ledger import keys
from rerankq.ledger.codec import VERSION
from rerankq.ledger.keys import Key, name
from rerankq.ledger.stored import Stored

SLICE = 500  # records read at once
OVER_AT_ONCE = 100
TRY_AGAIN_MS = 600_000  # bytes that could not be deleted

_ID = re.compile(r"file-[0-9a-f]{32}")


def new_file_id() -> str:
    return f"file-{secrets.token_hex(16)}"


OfBatch = Literal["output", "errors", "work"]


def file_id_of(batch_id: str, what: OfBatch) -> str:
    """Of what a batch writes: always the same, so that anyone can find it by the batch."""
    return f"file-{hashlib.sha256(f'{batch_id} {what}'.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file as the ledger has it. Times are Redis milliseconds.

    Attributes:
        filename: as its maker calls it; no path anywhere is made of it.
        url: of its bytes, in the service's own storage.
        size: bytes; None: it is a batch's, which has not written it or was not looked at since.
            Nobody can read such a file, but its time ends like any other's.
    """

    id: str
    owner: str
    filename: str
    purpose: str
    url: str
    created: int
    expires: int
    size: int | None

    def encode(self) -> dict[str, str | int]:
        fields = {key: value for key, value in asdict(self).items() if value is not None}
        return {"version": VERSION, **fields}

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> FileRecord | None:
        """None if there is no such file. Raises: LaterVersion."""
        stored = Stored.read("file", {key.decode(): value for key, value in fields.items()})
        if stored is None:
            return None
        return cls(
            id=stored["id"],
            owner=stored["owner"],
            filename=stored["filename"],
            purpose=stored["purpose"],
            url=stored["url"],
            created=int(stored["created"]),
            expires=int(stored["expires"]),
            size=stored.number("size"),
        )


class Files:
    """The records of all files, in the default model's ledger.

    Raises of every method: redis.RedisError when Redis does not answer in time.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client: Any = client  # see `AsyncLedger`
        self._name = partial(name, root=keys.ROOT)

    async def now_ms(self) -> int:
        """Redis's clock."""
        seconds, micros = await self._client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def put(self, *records: FileRecord) -> None:
        """One without a size is in nobody's list, and cannot be read, until it has one."""
        pipe = self._client.pipeline(transaction=True)
        for record in records:
            pipe.hset(self._name(Key.FILE, record.id), mapping=record.encode())
            pipe.zadd(self._name(Key.FILES_OVER), {record.id: record.expires})
            if record.size is not None:
                pipe.zadd(self._name(Key.FILES, record.owner), {record.id: record.created})
        await pipe.execute()

    async def known(self, *file_ids: str) -> list[FileRecord | None]:
        """Whosever they are, and whether there are bytes yet. Raises: LaterVersion."""
        pipe = self._client.pipeline(transaction=False)
        for file_id in file_ids:
            pipe.hgetall(self._name(Key.FILE, file_id))
        return [FileRecord.decode(fields) for fields in await pipe.execute()]

    async def get(self, file_id: str, owner: str) -> FileRecord | None:
        """A file that this owner can read now. Raises: LaterVersion."""
        if not _ID.fullmatch(file_id):
            return None
        (record,) = await self.known(file_id)
        return record if record and _shown(record, owner, await self.now_ms()) else None

    async def page(
        self, owner: str, *, after: str | None, limit: int, newest_first: bool, purpose: str | None
    ) -> list[FileRecord] | None:
        """At most `limit` that the owner can read; None: `after` is none of them."""
        key, now = self._name(Key.FILES, owner), await self.now_ms()
        rank = self._client.zrevrank if newest_first else self._client.zrank
        order = self._client.zrevrange if newest_first else self._client.zrange
        found: list[FileRecord] = []
        last = after
        while len(found) < limit:
            start = 0
            if last is not None:
                # Anew for each slice: others put files down and delete them meanwhile.
                place = await rank(key, last)
                if place is None:
                    return None if last == after else found
                start = place + 1
            ids = [each.decode() for each in await order(key, start, start + SLICE - 1)]
            if not ids:
                break
            found += [
                record
                for record in await self.known(*ids)
                if record and _shown(record, owner, now) and purpose in (None, record.purpose)
            ]
            last = ids[-1]
        return found[:limit]

    async def forget(self, record: FileRecord) -> bool:
        """False: it was forgotten before; so of several who forget one, it is one who did."""
        pipe = self._client.pipeline(transaction=True)
        pipe.delete(self._name(Key.FILE, record.id))
        pipe.zrem(self._name(Key.FILES, record.owner), record.id)
        pipe.zrem(self._name(Key.FILES_OVER), record.id)
        deleted, *_ = await pipe.execute()
        return bool(deleted)

    async def over(self) -> Sequence[FileRecord]:
        """Some of those whose bytes are to go. Raises: LaterVersion."""
        key = self._name(Key.FILES_OVER)
        due = await self._client.zrangebyscore(
            key, "-inf", await self.now_ms(), start=0, num=OVER_AT_ONCE
        )
        if not due:
            return []
        records = await self.known(*(each.decode() for each in due))
        gone = [each for each, record in zip(due, records, strict=True) if record is None]
        if gone:
            await self._client.zrem(key, *gone)
        return [record for record in records if record is not None]

    async def put_off(self, record: FileRecord) -> None:
        """Its bytes could not be deleted: others first."""
        again = await self.now_ms() + TRY_AGAIN_MS
        await self._client.zadd(self._name(Key.FILES_OVER), {record.id: again})


def _shown(record: FileRecord, owner: str, now: int) -> bool:
    return record.owner == owner and record.size is not None and record.expires > now
