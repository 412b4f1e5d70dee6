"""What is known of a file without reading it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stat:
    """
    Attributes:
        size: bytes.
        version: changes when the content does: size, and an etag or a time.
    """

    size: int
    version: str
