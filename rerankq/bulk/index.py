"""Where each record of a BEIR file (corpus.jsonl, queries.jsonl) lies, found by its `_id`.

The index is a file of fixed-size entries (hash of the id, offset, length), sorted. It is built once
a batch and searched through a mapping. Building it takes little memory, since a worker's has a
model: entries are spread over buckets on disk by their hash, and each bucket is sorted alone.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
import shutil
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import IO, Any

from rerankq.bulk import storage
from rerankq.bulk.addresses import failures
from rerankq.bulk.inputs import found_at
from rerankq.bulk.lines import lines
from rerankq.bulk.records import BadInput

# Big endian, so that entries sort as bytes by hash and then by place in the file.
_ENTRY = struct.Struct(">QQI")
_HEADER = struct.Struct(">8s16sQ")
_MAGIC = b"rrqindex"
_BUCKET_BITS = 10
_BLOCK = _ENTRY.size * 400  # of a bucket, in memory until it is full
_AT_ONCE = 1_000  # records of a query read at a time, and
_BYTES_AT_ONCE = 16 << 20
_KEPT = 8  # mappings of a process: corpus and queries of a few batches
# BEIR writes the id first; parsing whole documents for it takes ten times as long.
_ID_FIRST = re.compile(rb'\s*\{\s*"_id"\s*:\s*"([^"\\]*)"')

_Place = tuple[int, int]  # bytes [start, stop) of the file


class Index:
    """The records of one file, by id. Safe to share between threads.

    Attributes:
        size: of the file, bytes.
        count: its records.
    """

    def __init__(self, url: str, size: int, table: mmap.mmap) -> None:
        self._url = url
        self._table = table
        self.size = size
        self.count = (len(table) - _HEADER.size) // _ENTRY.size

    def records(self, ids: Sequence[str]) -> Iterator[dict[str, Any] | None]:
        """In the order of the ids; None: there is no such record. Read some at a time, as they are
        asked for.

        Raises: OSError.
        """
        some: list[tuple[str, list[_Place]]] = []
        size = 0
        for key in ids:
            places = list(self._places(_hash(key.encode())))
            some.append((key, places))
            size += sum(stop - start for start, stop in places[:1])
            if len(some) == _AT_ONCE or size > _BYTES_AT_ONCE:
                yield from self._read(some)
                some, size = [], 0
        yield from self._read(some)

    def _read(self, some: Sequence[tuple[str, list[_Place]]]) -> Iterator[dict[str, Any] | None]:
        firsts = [places[0] for _, places in some if places]
        read = iter(storage.read_many(self._url, firsts))
        for key, places in some:
            record = _record(next(read), key) if places else None
            for start, stop in places[1:]:
                # Another id of the same hash, or the same id again: the first one counts.
                record = record or _record(storage.read(self._url, start, stop), key)
            yield record

    def _places(self, digest: int) -> Iterator[_Place]:
        low, high = 0, self.count
        while low < high:
            middle = (low + high) // 2
            if self._entry(middle)[0] < digest:
                low = middle + 1
            else:
                high = middle
        while low < self.count and (entry := self._entry(low))[0] == digest:
            yield entry[1], entry[1] + entry[2]
            low += 1

    def _entry(self, number: int) -> tuple[int, int, int]:
        found: tuple[int, int, int] = _ENTRY.unpack_from(
            self._table, _HEADER.size + number * _ENTRY.size
        )
        return found


_opened: dict[tuple[str, str], Index] = {}
_opening = threading.Lock()
_building = threading.Lock()  # two side by side would take twice the memory


def index(url: str, target: str) -> Index:
    """The index of a file; built if it is not there, and opened once a process.

    Args:
        target: URL of the index, in the batch's own folder.

    Raises: BadInput: the file is missing, has no ids, or is not the one that was indexed; OSError.
    """
    found = found_at(url)
    if (url, found.version) not in _opened and not storage.exists(target):
        with _building:
            if not storage.exists(target):
                build(url, found.version, target)
    # Not while one is built, which takes minutes: who reads a chunk would be taken to hang.
    with _opening:
        if (url, found.version) not in _opened:
            _opened[url, found.version] = _open(url, found, target)
            for old in list(_opened)[:-_KEPT]:
                del _opened[old]
        return _opened[url, found.version]


def _open(url: str, found: storage.Stat, target: str) -> Index:
    with closing(storage.open_at(target, 0)) as file:
        if storage.local_path(target) is not None:
            table = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        else:
            table = _mapped_copy(file)
    if table[: _HEADER.size] != _header(found.version, (len(table) - _HEADER.size) // _ENTRY.size):
        detail = f"{storage.shown(url)} has changed since the batch was made"
        raise BadInput("input_changed", detail)
    return Index(url, found.size, table)


def _mapped_copy(file: IO[bytes]) -> mmap.mmap:
    # The file has no name, and is gone with its mapping.
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.flush()
        return mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ)


def build(url: str, version: str, target: str) -> None:
    """Write the index of a file, published in one step.

    Raises: BadInput: no line has an id; OSError.
    """
    with _temporary(target) as file:
        buckets = _spread(url, file)
        count = sum(bucket.count for bucket in buckets)
        if not count:
            raise BadInput("invalid_input", f"no line of {storage.shown(url)} has an _id")
        with storage.writing(target) as out:
            out.write(_header(version, count))
            for bucket in buckets:
                out.write(bucket.sorted(file))


def _temporary(target: str) -> IO[bytes]:
    # Beside the index where that is a disk: the temporary folder is memory, mostly in containers.
    path = storage.local_path(target)
    if path is not None:
        storage.make_folder(str(path.parent))
    with failures(target):
        return tempfile.TemporaryFile(dir=None if path is None else path.parent)


class _Bucket:
    """Entries whose hashes have the same first bits: whole blocks in a file, the last one here."""

    def __init__(self) -> None:
        self._blocks: list[int] = []  # where they begin
        self._last = bytearray()

    @property
    def count(self) -> int:
        return (len(self._blocks) * _BLOCK + len(self._last)) // _ENTRY.size

    def add(self, entry: bytes, file: IO[bytes]) -> None:
        self._last += entry
        if len(self._last) == _BLOCK:
            self._blocks.append(file.tell())
            file.write(self._last)
            self._last.clear()

    def sorted(self, file: IO[bytes]) -> bytes:
        data = bytearray()
        for at in self._blocks:
            file.seek(at)
            data += file.read(_BLOCK)
        data += self._last
        entries = [bytes(data[at : at + _ENTRY.size]) for at in range(0, len(data), _ENTRY.size)]
        entries.sort()
        return b"".join(entries)


def _spread(url: str, file: IO[bytes]) -> list[_Bucket]:
    buckets = [_Bucket() for _ in range(1 << _BUCKET_BITS)]
    for line in lines(url, 0, None):
        key = _id(line.text) if line.text is not None else None
        if key is not None:
            digest = _hash(key)
            entry = _ENTRY.pack(digest, line.at, line.size)
            buckets[digest >> (64 - _BUCKET_BITS)].add(entry, file)
    return buckets


def _header(version: str, count: int) -> bytes:
    return _HEADER.pack(_MAGIC, hashlib.sha256(version.encode()).digest()[:16], count)


def _hash(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest())


def _id(text: bytes) -> bytes | None:
    """None: not a record of such a file; it is missed when it is asked for."""
    first = _ID_FIRST.match(text)
    if first:
        return first[1]
    record = _parsed(text)
    return None if record is None else str(record["_id"]).encode(errors="surrogatepass")


def _parsed(text: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(text.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return None
    if isinstance(record, dict) and isinstance(record.get("_id"), str | int):
        return record
    return None


def _record(text: bytes, key: str) -> dict[str, Any] | None:
    record = _parsed(text)
    return record if record is not None and str(record["_id"]) == key else None
