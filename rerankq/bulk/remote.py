"""Files of any fsspec file system. fsspec is imported where it is first needed, never before."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from rerankq.bulk.addresses import failures, join, name, scheme, shown
from rerankq.bulk.extras import extra
from rerankq.bulk.output import output
from rerankq.bulk.stat import Stat

_BUFFER = 2 << 20  # bytes of one request; small ones cost a round trip each
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


def stat(url: str) -> Stat:
    with failures(url):
        fs, path = _opened(url)
        info = fs.info(path)
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
    with failures(url):
        fs, path = _opened(url)
        if len(asked) == 1:
            told = [fs.cat_file(path, start=asked[0][0], end=asked[0][1])]
        else:
            starts, stops = [start for start, _ in asked], [stop for _, stop in asked]
            told = fs.cat_ranges([path] * len(asked), starts, stops, on_error="raise")
        for (start, stop), data in zip(asked, told, strict=True):
            if len(data) > stop - start:
                raise OSError("the server answers with more than the range it was asked for")
    answers = iter(told)
    return [next(answers) if stop > start else b"" for start, stop in ranges]


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


def put(url: str, data: bytes) -> None:
    if scheme(url) in _UPLOADS:
        with failures(url):
            fs, path = _opened(url)
            fs.pipe_file(path, data)
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
            fs.info(path)
    except FileNotFoundError:
        return False
    return True


def delete(url: str) -> None:
    with failures(url), suppress(FileNotFoundError):
        fs, path = _opened(url)
        fs.rm_file(path)


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
