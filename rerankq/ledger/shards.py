"""A job's documents as the bytes of its shards, and how they are put down in Redis."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rerankq.ledger import keys
from rerankq.ledger.codec import Echo, ShardInput
from rerankq.ledger.keys import Key, Part, name
from rerankq.ledger.sharding import Cut
from rerankq.schema import Document, JobRequest

SLICE_BYTES = 1024 * 1024

Command = tuple[str | bytes | int, ...]


@dataclass(frozen=True, slots=True)
class Shards:
    """A job cut and encoded: one value of each part for each shard.

    Attributes:
        parts: inputs, and echoes if anything of the documents goes back with the results.
        token: under which they are staged.
    """

    cut: Cut
    parts: Mapping[Part, Sequence[bytes]]
    token: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def count(self) -> int:
        return len(self.cut.bounds)


def texts_of(request: JobRequest) -> list[str]:
    return [d.text if isinstance(d, Document) else d for d in request.documents]


def encode(request: JobRequest, texts: Sequence[str], cut: Cut) -> Shards:
    bounds = cut.bounds
    inputs = [ShardInput(start, tuple(texts[start:stop])).encode() for start, stop in bounds]
    parts: dict[Part, Sequence[bytes]] = {Part.INPUT: inputs}
    ids = [d.id if isinstance(d, Document) else None for d in request.documents]
    if request.return_documents or any(each is not None for each in ids):
        parts[Part.ECHO] = [
            Echo(
                start,
                tuple(ids[start:stop]),
                tuple(texts[start:stop]) if request.return_documents else None,
            ).encode()
            for start, stop in bounds
        ]
    return Shards(cut, parts)


def staging(shards: Shards, root: str) -> Iterator[list[Command]]:
    """The commands that put the shards down, in slices, so that no write holds Redis for long."""
    commands: list[Command] = []
    size = 0
    for part, values in shards.parts.items():
        key = name(Key.STAGE, shards.token + part, root)
        for k, value in enumerate(values):
            if size >= SLICE_BYTES:
                yield commands
                commands, size = [], 0
            commands.append(("HSET", key, k, value))
            # With every shard: if this process dies half-way, or Redis fills up, what it has put
            # down must go too.
            commands.append(("PEXPIRE", key, keys.STAGED_TTL_MS))
            size += len(value)
    yield commands
