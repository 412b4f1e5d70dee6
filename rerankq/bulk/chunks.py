"""An input cut into bounded ranges."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """A range of the input: records that start in it, whole.

    Attributes:
        start, stop: bytes of a text, row groups of a Parquet file.
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
