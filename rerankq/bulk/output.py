"""A file being written, whose failures name where it is to be."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, cast

from rerankq.bulk.addresses import failures


class _Output(io.RawIOBase):
    """Closing it does nothing: who opened the file below commits it or gives it up."""

    def __init__(self, below: Any, url: str) -> None:
        self._below = below
        self._url = url
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with failures(self._url):
            self._below.write(data)
        size = memoryview(data).nbytes
        self._written += size
        return size

    def tell(self) -> int:
        return self._written


def output(below: Any, url: str) -> BinaryIO:
    """
    Args:
        below: what takes all of what it is given; a buffered file does, a raw one may not.
    """
    return cast(BinaryIO, _Output(below, url))
