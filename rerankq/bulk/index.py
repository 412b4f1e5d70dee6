"""Where each record of a BEIR file (corpus.jsonl, queries.jsonl) lies, found by its `_id`.

The index is a file of fixed-size entries (hash of the id, offset, length), sorted. It is built once
a batch in bounded memory, by sorted runs on disk that are merged, and searched through a mapping.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import mmap
import re
import shutil
import struct
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import IO, Any

from rerankq.bulk import storage
from rerankq.bulk.inputs import found_at
from rerankq.bulk.lines import lines
from rerankq.bulk.records import BadInput

# Big endian, so that entries sort as bytes by hash and then by place in the file.
_ENTRY = struct.Struct(">QQI")
_HEADER = struct.Struct(">8s16sQ")
_MAGIC = b"rrqindex"
_RUN = 500_000  # entries sorted in memory at a time, about 40 MB
_KEPT = 8  # mappings of a process: corpus and queries of a few batches
_BLOCK = _ENTRY.size * 16_384
# BEIR writes the id first; parsing whole documents for it takes ten times as long.
_ID_FIRST = re.compile(rb'\s*\{\s*"_id"\s*:\s*"([^"\\]*)"')


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

    def records(self, ids: Sequence[str]) -> list[dict[str, Any] | None]:
        """In the order of the ids; None: there is no such record.

        Raises: OSError.
        """
        places = [list(self._places(_hash(key.encode()))) for key in ids]
        read = iter(storage.read_many(self._url, [found[0] for found in places if found]))
        told: list[dict[str, Any] | None] = []
        for key, found in zip(ids, places, strict=True):
            record = _record(next(read), key) if found else None
            for start, stop in found[1:]:
                # Another id of the same hash, or the same id again: the first one counts.
                record = record or _record(storage.read(self._url, start, stop), key)
            told.append(record)
        return told

    def _places(self, digest: int) -> Iterator[tuple[int, int]]:
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


def index(url: str, target: str) -> Index:
    """The index of a file; built if it is not there, and opened once a process.

    Args:
        target: URL of the index, in the batch's own folder.

    Raises: BadInput: the file is missing, has no ids, or is not the one that was indexed; OSError.
    """
    found = found_at(url)
    # Others wait meanwhile: two builds side by side would take twice the memory.
    with _opening:
        if (url, found.version) not in _opened:
            if not storage.exists(target):
                build(url, found.version, target)
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
    with ExitStack() as stack:
        sorted_runs: list[IO[bytes]] = []
        count = 0
        for entries in _batches(url):
            file = stack.enter_context(tempfile.TemporaryFile())
            file.write(b"".join(entries))
            file.seek(0)
            sorted_runs.append(file)
            count += len(entries)
        if not count:
            raise BadInput("invalid_input", f"no line of {storage.shown(url)} has an _id")
        with storage.writing(target) as out:
            out.write(_header(version, count))
            for block in _blocks(heapq.merge(*map(_entries, sorted_runs))):
                out.write(block)


def _batches(url: str) -> Iterator[list[bytes]]:
    entries: list[bytes] = []
    for line in lines(url, 0, None):
        key = _id(line.text) if line.text is not None else None
        if key is None:
            continue
        entries.append(_ENTRY.pack(_hash(key), line.at, line.size))
        if len(entries) >= _RUN:
            entries.sort()
            yield entries
            entries = []
    if entries:
        entries.sort()
        yield entries


def _entries(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        for at in range(0, len(block), _ENTRY.size):
            yield block[at : at + _ENTRY.size]


def _blocks(entries: Iterator[bytes]) -> Iterator[bytes]:
    block = bytearray()
    for entry in entries:
        block += entry
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    yield bytes(block)


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
