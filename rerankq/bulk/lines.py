"""The lines of a byte range of a text, and its runs of lines that share a key.

A line belongs to the range in which it starts, a run to the one in which its first line starts. So
ranges can be cut anywhere, and together give each line and each run exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from typing import BinaryIO, NamedTuple

from rerankq.bulk import storage

LONGEST = 16 << 20  # bytes of a line; a longer one is passed over, never held
MOST_LINES = 100_000  # of a run, and
MOST_BYTES = 128 << 20  # bytes; of a longer one the first line alone is told
_BLOCK = 64 << 10  # bytes
_LARGEST_BLOCK = 4 << 20
_BOM = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that is not blank.

    Attributes:
        at: where it starts in the file, bytes.
        number: counted from 0 at the first line of the range, blank ones too.
        text: without its end, be that LF or CRLF; None: longer than `LONGEST`.
        size: bytes, with its end.
    """

    at: int
    number: int
    text: bytes | None
    size: int


def lines(url: str, start: int, stop: int | None) -> Iterator[Line]:
    """Those that start in [start, stop); None: to the file's end.

    Raises: OSError.
    """
    with closing(storage.open_at(url, max(0, start - 1))) as file:
        # From one byte before: if that ends a line, the next one starts in this range.
        at = start - 1 + _pass_line(file) if start else 0
        number = 0
        while stop is None or at < stop:
            text, size = _next_line(file)
            if not size:
                return
            if at == 0 and text is not None:
                text = text.removeprefix(_BOM)
            if text is None or text.strip():
                yield Line(at, number, text, size)
            at += size
            number += 1


def count(url: str, start: int, stop: int) -> int:
    """Lines that start in [start, stop), blank ones too.

    Raises: OSError.
    """
    # A line starts behind each end of one, and at the file's start.
    left = stop - max(1, start)
    with closing(storage.open_at(url, max(0, start - 1))) as file:
        found = int(start == 0 < stop and file.read(1) != b"")
        file.seek(max(0, start - 1))
        while left > 0 and (block := file.read(min(left, _LARGEST_BLOCK))):
            found += block.count(b"\n")
            left -= len(block)
    return found


def _next_line(file: BinaryIO) -> tuple[bytes | None, int]:
    text = file.readline(LONGEST + 1)
    if len(text) > LONGEST and not text.endswith(b"\n"):
        return None, len(text) + _pass_line(file)
    return _without_end(text), len(text)


def _pass_line(file: BinaryIO) -> int:
    """Bytes to the end of the line, which is included."""
    size = 0
    while piece := file.readline(_BLOCK):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


def _without_end(text: bytes) -> bytes:
    return text.removesuffix(b"\n").removesuffix(b"\r")


Key = Callable[[bytes], bytes | None]


class Run(NamedTuple):
    """Consecutive lines of one key; one line alone if it has none (it is not of the format).

    Attributes:
        too_long: over `MOST_LINES` or `MOST_BYTES`; only its first line is here.
    """

    key: bytes | None
    lines: list[Line]
    too_long: bool = False


def runs(url: str, start: int, stop: int, key: Key, most: int | None = None) -> Iterator[Run]:
    """Runs that start in [start, stop), read to their ends.

    Blank lines and lines without a key do not end a run. The latter belong where they start.

    Args:
        key: of a line; None: it is not of the format.
        most: lines of a run that are wanted; None: all.

    Raises: OSError.
    """
    found = lines(url, start, None)
    first = next(found, None)
    if first is None:
        return
    before = _key_before(url, first.at, key) if start else None
    found = chain([first], found)
    keyed = ((line, key(line.text) if line.text is not None else None) for line in found)
    yield from _grouped(keyed, stop, before, most)


def _grouped(
    found: Iterator[tuple[Line, bytes | None]], stop: int, shared: bytes | None, most: int | None
) -> Iterator[Run]:
    """
    Args:
        found: lines with their keys.
        shared: the key of the run that the first lines may continue; those are passed over.
    """
    run: list[Line] = []
    for line, its in found:
        if line.at >= stop and not run:
            return
        if its is None:
            if line.at < stop:
                yield Run(None, [line])
        elif its != shared:
            if run:
                yield Run(shared, run)
            run, shared = [line] if line.at < stop else [], its
        elif run:
            run.append(line)
        if full := _full(shared, run, most):
            yield full
            run = []  # the rest of it is passed over
    if run:
        yield Run(shared, run)


def _full(key: bytes | None, run: list[Line], most: int | None) -> Run | None:
    """What is told of a run before its end; None: it goes on."""
    if not run:
        return None
    if len(run) == most:
        return Run(key, run)
    if len(run) > MOST_LINES or run[-1].at + run[-1].size - run[0].at > MOST_BYTES:
        return Run(key, run[:1], too_long=True)
    return None


def _key_before(url: str, end: int, key: Key) -> bytes | None:
    for text in _backwards(url, end):
        its = key(text) if len(text) <= LONGEST else None
        if its is not None:
            return its
    return None


def _backwards(url: str, end: int) -> Iterator[bytes]:
    """Lines that end at or before `end`, a line's start, last first. Of long ones not all."""
    tail = b""
    block = _BLOCK
    while end > 0:
        begin = max(0, end - block)
        first, *whole = (storage.read(url, begin, end) + tail).split(b"\n")
        yield from (_without_end(text) for text in reversed(whole))
        tail = first[: LONGEST + 1]
        end, block = begin, min(2 * block, _LARGEST_BLOCK)
    yield _without_end(tail).removeprefix(_BOM)
