"""The machine's own files."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from rerankq.bulk.addresses import failures, join, local_path
from rerankq.bulk.output import output
from rerankq.bulk.stat import Stat

_BUFFER = 1 << 20  # bytes


def _path(url: str) -> Path:
    path = local_path(url)
    if path is None:
        raise ValueError(f"{url!r} is not this machine's")
    return path


def stat(url: str) -> Stat:
    with failures(url):
        found = os.stat(_path(url))
        if not S_ISREG(found.st_mode):
            raise IsADirectoryError("is not a file")
    return Stat(found.st_size, f"{found.st_size}-{found.st_mtime_ns}")


def read(url: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    with failures(url), open(_path(url), "rb") as file:
        told = []
        for start, stop in ranges:
            file.seek(start)
            told.append(file.read(max(0, stop - start)))
        return told


def open_at(url: str, start: int) -> BinaryIO:
    with failures(url):
        file = open(_path(url), "rb", _BUFFER)  # noqa: SIM115
        file.seek(start)
        return file


def put(url: str, data: bytes) -> None:
    with writing(url) as file:
        file.write(data)


@contextmanager
def writing(url: str) -> Iterator[BinaryIO]:
    path = _path(url)
    # Its own name, not the output's and more: that may be as long as a name can be.
    aside = path.parent / f".{secrets.token_hex(8)}.tmp"
    with failures(url):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not tempfile's, whose files nobody else may read.
        file = open(aside, "xb", _BUFFER)  # noqa: SIM115
    try:
        yield output(file, url)
        with failures(url):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            os.replace(aside, path)
            _sync(path.parent)
    except BaseException:
        with suppress(OSError):
            file.close()
        with suppress(OSError):
            aside.unlink()
        raise


def _sync(folder: Path) -> None:
    # The name of a file is its folder's content, and lasts as that does.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def exists(url: str) -> bool:
    with failures(url):
        return _path(url).exists()


def delete(url: str) -> None:
    with failures(url):
        _path(url).unlink(missing_ok=True)


def delete_tree(url: str) -> None:
    with failures(url), suppress(FileNotFoundError):
        shutil.rmtree(_path(url))


def listing(folder: str) -> list[str]:
    with failures(folder), suppress(FileNotFoundError):
        return sorted(join(folder, name) for name in os.listdir(_path(folder)))
    return []


def make_folder(url: str) -> None:
    with failures(url):
        _path(url).mkdir(parents=True, exist_ok=True)
