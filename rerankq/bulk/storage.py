"""Bytes of a local path or of any fsspec URL: ranges in, whole objects out, nothing half-written.

A path without a scheme is the machine's own and needs nothing but Python; everything else is
fsspec's (`rerankq[bulk]`). Every failure is an OSError that names the URL, without its secrets:
FileNotFoundError and PermissionError where they can be told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from rerankq.bulk import local, remote
from rerankq.bulk.addresses import allowed, join, local_path, name, shown
from rerankq.bulk.stat import Stat

__all__ = [
    "Stat",
    "allowed",
    "delete",
    "delete_tree",
    "exists",
    "join",
    "listing",
    "local_path",
    "make_folder",
    "name",
    "open_all",
    "open_at",
    "put",
    "read",
    "read_many",
    "shown",
    "stat",
    "writing",
]


class _Files(Protocol):
    """What the modules `local` and `remote` are."""

    def stat(self, url: str) -> Stat: ...
    def read(self, url: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]: ...
    def open_at(self, url: str, start: int) -> BinaryIO: ...
    def put(self, url: str, data: bytes) -> None: ...
    def writing(self, url: str) -> AbstractContextManager[BinaryIO]: ...
    def exists(self, url: str) -> bool: ...
    def delete(self, url: str) -> None: ...
    def delete_tree(self, url: str) -> None: ...
    def listing(self, folder: str) -> list[str]: ...
    def make_folder(self, url: str) -> None: ...


def _files(url: str) -> _Files:
    if local_path(url) is None:
        return remote
    return local


def stat(url: str) -> Stat:
    """Size in bytes, and a version that changes when the content does."""
    return _files(url).stat(url)


def read(url: str, start: int, stop: int) -> bytes:
    """Bytes [start, stop), fewer at the end of the file."""
    return read_many(url, [(start, stop)])[0]


def read_many(url: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Several ranges, in their order; object stores are asked for many at a time."""
    return _files(url).read(url, ranges) if ranges else []


def open_at(url: str, start: int) -> BinaryIO:
    """The file from an offset on, buffered and seekable. To be closed."""
    return _files(url).open_at(url, start)


def open_all(urls: Sequence[str]) -> Iterator[BinaryIO]:
    """Files of one place, each from its beginning, in their order; object stores are asked for some
    of the next ones at a time. Each to be closed.
    """
    if not urls or local_path(urls[0]) is not None:
        return (open_at(url, 0) for url in urls)
    return remote.open_all(urls)


def put(url: str, data: bytes) -> None:
    """Write a whole file in one step: there is the old one or the new one, never a part."""
    _files(url).put(url, data)


def writing(url: str) -> AbstractContextManager[BinaryIO]:
    """A large output, published when the block ends; after an exception there is none.

    An object store keeps what a killed process sent until its own rule on incomplete uploads.
    """
    return _files(url).writing(url)


def exists(url: str) -> bool:
    return _files(url).exists(url)


def delete(url: str) -> None:
    """A file that is not there is no error."""
    _files(url).delete(url)


def delete_tree(url: str) -> None:
    """A folder and all in it. One that is not there is no error."""
    _files(url).delete_tree(url)


def listing(folder: str) -> list[str]:
    """URLs of what lies in a folder, sorted; none if there is no such folder."""
    return _files(folder).listing(folder)


def make_folder(url: str) -> None:
    """With its parents; one that is there already is no error."""
    _files(url).make_folder(url)
