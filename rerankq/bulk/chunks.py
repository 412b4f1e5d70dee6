"""An input cut into bounded ranges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """A range of the input: records that start in it, whole.

    Attributes:
        start, stop: bytes of a text, rows of a Parquet file.
        size: bytes, estimated where they are not known.
    """

    start: int
    stop: int
    size: int

    def encode(self) -> str:
        """As the ledger keeps it."""
        return f"{self.start} {self.stop} {self.size}"

    @classmethod
    def decode(cls, text: str) -> Chunk:
        return cls(*map(int, text.split()))


def byte_chunks(size: int, most_bytes: int, weight: float = 1.0) -> Iterator[Chunk]:
    """Cut a text by arithmetic alone: whoever reads a chunk finds where its first line starts.

    Args:
        size: of the text, bytes.
        weight: bytes that a byte of the text stands for, where it refers to other files.
    """
    step = max(1, int(most_bytes / weight))
    for start in range(0, size, step):
        stop = min(start + step, size)
        yield Chunk(start, stop, int((stop - start) * weight))
