"""Files of any fsspec file system. fsspec is imported where it is first needed, never before."""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, BinaryIO, cast

from rerankq.bulk.addresses import failures, join, name, scheme, shown
from rerankq.bulk.extras import extra
from rerankq.bulk.output import output
from rerankq.bulk.stat import Stat

_BUFFER = 2 << 20  # bytes of one request; small ones cost a round trip each
_AT_ONCE = 64  # requests
_AHEAD = 16  # files asked for at a time, up to a buffer of each
PATIENCE_S = 60.0  # with a storage that does not answer
_LEAST_RATE = 1e6  # bytes/s; what carries many is waited for longer
# Where closing a file publishes it and nothing does before. Elsewhere it grows under its name.
_UPLOADS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "updated",
             "mtime", "modified", "created")  # fmt: skip


def _opened(url: str) -> tuple[Any, str]:
    """The file system and its own name for the file.

    Raises: OSError: there is no such file system here.
    """
    its = scheme(url)
    core = extra("fsspec.core", f"reading and writing {its}:// URLs")
    try:
        fs, path = core.url_to_fs(its + url[len(its) :])
    except ImportError as error:
        # fsspec's message names the package to install.
        raise OSError(str(error)) from error
    # Listings are cached for ever, and other processes write here.
    fs.invalidate_cache()
    return fs, path


def _ask(fs: Any, verb: str, *args: Any, size: int = 0) -> Any:
    """A file system's answer; see `_within`.

    Args:
        size: bytes that it carries.
    """
    if not _asynchronous(fs):
        return getattr(fs, verb)(*args)
    return _within(fs, size, getattr(fs, f"_{verb}"), *args)


def _asynchronous(fs: Any) -> bool:
    return bool(getattr(fs, "async_impl", False))


def _within(fs: Any, size: int, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Given up if it takes too long: a server that takes a connection and never answers would hold
    the thread for as long as the file system goes on trying.
    """
    asyn = extra("fsspec.asyn", "fsspec")
    patience = PATIENCE_S + size / _LEAST_RATE
    try:
        return asyn.sync(fs.loop, call, *args, timeout=patience)
    except asyn.FSTimeoutError as error:
        raise OSError(f"no answer within {round(patience, 1):g} s") from error


_Range = tuple[str, int, int]  # the file system's name of a file, and bytes [start, stop) of it


def _ranges(fs: Any, asked: Sequence[_Range]) -> list[bytes | BaseException]:
    """Many at a time, where the file system can."""
    if not _asynchronous(fs):
        paths, starts, stops = (list(column) for column in zip(*asked, strict=True))
        told: list[bytes | BaseException] = fs.cat_ranges(paths, starts, stops, on_error="return")
        return told

    # Not fsspec's own, whose requests go on when nobody waits for them any more.
    async def gathered() -> list[bytes | BaseException]:
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(path: str, start: int, stop: int) -> bytes:
            async with room:
                data: bytes = await fs._cat_file(path, start=start, end=stop)
                return data

        return await asyncio.gather(*(one(*its) for its in asked), return_exceptions=True)

    size = sum(stop - start for _, start, stop in asked)
    found: list[bytes | BaseException] = _within(fs, size, gathered)
    return found


def stat(url: str) -> Stat:
    with failures(url):
        fs, path = _opened(url)
        info = _ask(fs, "info", path)
        if info.get("type") == "directory":
            raise IsADirectoryError("is not a file")
        size = info.get("size")
        if size is None:
            raise OSError("its size is not known, so it cannot be read in ranges")
    told = next((info[key] for key in _VERSIONS if info.get(key)), "")
    return Stat(int(size), f"{size}-{str(told).strip(chr(34))}")


def read(url: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    # An empty range has no HTTP form.
    asked = [(start, stop) for start, stop in ranges if stop > start]
    told: list[bytes] = []
    with failures(url):
        fs, path = _opened(url)
        answers = _ranges(fs, [(path, *its) for its in asked]) if asked else []
        for (start, stop), data in zip(asked, answers, strict=True):
            if isinstance(data, BaseException):
                raise data
            if len(data) > stop - start:
                raise OSError("the server answers with more than the range it was asked for")
            told.append(data)
    left = iter(told)
    return [next(left) if stop > start else b"" for start, stop in ranges]


class _Ranges(io.RawIOBase):
    """A file as its ranges, each a request of its own, so that none outlives a slow reader."""

    def __init__(self, url: str, start: int) -> None:
        self._url = url
        self._at = start
        self._size = stat(url).size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readall(self) -> bytes:
        # Inherited, it would ask for 8 KiB at a time.
        data = read(self._url, [(self._at, max(self._at, self._size))])[0]
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        data = read(self._url, [(self._at, stop)])[0]
        if not data:
            raise OSError(f"{shown(self._url)}: ended while it was read")
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_at(url: str, start: int) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Ranges(url, start), _BUFFER))


def open_all(urls: Sequence[str]) -> Iterator[BinaryIO]:
    for first in range(0, len(urls), _AHEAD):
        some = urls[first : first + _AHEAD]
        for url, whole in zip(some, _small_ones(some), strict=True):
            yield open_at(url, 0) if whole is None else io.BytesIO(whole)


def _small_ones(urls: Sequence[str]) -> list[bytes | None]:
    """All of each file; None: it is larger than a buffer, or another try says what is wrong."""
    with failures(urls[0]):
        fs = _opened(urls[0])[0]
        told = _ranges(fs, [(_opened(url)[1], 0, _BUFFER) for url in urls])
    return [data if isinstance(data, bytes) and len(data) < _BUFFER else None for data in told]


def put(url: str, data: bytes) -> None:
    if scheme(url) in _UPLOADS:
        with failures(url):
            fs, path = _opened(url)
            _ask(fs, "pipe_file", path, data, size=len(data))
        return
    with writing(url) as file:
        file.write(data)


@contextmanager
def writing(url: str) -> Iterator[BinaryIO]:
    with failures(url):
        fs, path = _opened(url)
    publish = _upload if scheme(url) in _UPLOADS else _renamed
    with publish(fs, path, url) as file:
        yield file


@contextmanager
def _upload(fs: Any, path: str, url: str) -> Iterator[BinaryIO]:
    _bound_uploads(fs)
    with failures(url):
        file = fs.open(path, "wb")
    try:
        yield output(file, url)
        with failures(url):
            file.close()
    except BaseException:
        # Closing it would publish what is there so far, and so would its end of life.
        with suppress(Exception):
            file.discard()
        file.closed = True
        raise


def _bound_uploads(fs: Any) -> None:
    """s3fs's files set no time, and a PUT waits for the server's `100 Continue` for ever."""
    call = getattr(type(fs), "call_s3", None)
    if call is not None:
        patience = PATIENCE_S + fs.default_block_size / _LEAST_RATE
        fs.call_s3 = partial(call, fs, timeout=patience)


@contextmanager
def _renamed(fs: Any, path: str, url: str) -> Iterator[BinaryIO]:
    folder, _, _ = path.rpartition("/")
    aside = f"{folder}/.{secrets.token_hex(8)}.tmp"
    with failures(url):
        if folder:
            fs.makedirs(folder, exist_ok=True)
        file = fs.open(aside, "wb")
    try:
        yield output(file, url)
        with failures(url):
            file.close()
            fs.mv(aside, path)
    except BaseException:
        with suppress(Exception):
            file.close()
        with suppress(Exception):
            fs.rm_file(aside)
        raise


def exists(url: str) -> bool:
    try:
        with failures(url):
            fs, path = _opened(url)
            _ask(fs, "info", path)
    except FileNotFoundError:
        return False
    return True


def delete(url: str) -> None:
    with failures(url), suppress(FileNotFoundError):
        fs, path = _opened(url)
        _ask(fs, "rm_file", path)


def delete_tree(url: str) -> None:
    with failures(url), suppress(FileNotFoundError):
        fs, path = _opened(url)
        if any(sign in path for sign in "*?["):
            raise OSError("would be taken for a pattern")
        fs.rm(path, recursive=True)


def listing(folder: str) -> list[str]:
    with failures(folder), suppress(FileNotFoundError):
        fs, path = _opened(folder)
        return sorted({join(folder, name(child)) for child in fs.ls(path, detail=False)})
    return []


def make_folder(url: str) -> None:
    # An object store has none; making one there would ask for the right to make buckets.
    if scheme(url) not in _UPLOADS:
        with failures(url):
            fs, path = _opened(url)
            fs.makedirs(path, exist_ok=True)
