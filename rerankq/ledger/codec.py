"""The bytes of a shard, in and out, each with a version in front."""

from __future__ import annotations

import json
import struct
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rerankq.errors import DecodeError

VERSION = 1  # of every record; raise it when an older worker could misread a newer one

# zlib at level 1 takes 0.8 ms for 100 KB of text; a faster codec would cost the light wheel a
# dependency.
_COMPRESSION = 1
_OUTPUT_HEAD = struct.Struct("<BIIIQ")  # version, first, count, truncated, tokens


@dataclass(frozen=True, slots=True)
class JobContext:
    """What all shards of a job share; it lies in the job's header, once.

    Attributes:
        request_id: follows the job into the worker's log.
        document_tokens: that are scored of each document at most; None: as many as fit.
    """

    query: str
    instruction: str | None
    request_id: str
    document_tokens: int | None = None

    def encode(self) -> bytes:
        record: dict[str, Any] = {
            "query": self.query,
            "instruction": self.instruction,
            "request_id": self.request_id,
        }
        if self.document_tokens is not None:  # a worker that does not know it refuses the job
            record["document_tokens"] = self.document_tokens
        return bytes([VERSION]) + zlib.compress(_json(record), _COMPRESSION)

    @classmethod
    def decode(cls, data: bytes) -> JobContext:
        """Raises: DecodeError: another version, or not such a record."""
        try:
            return cls(**json.loads(_inflate(data)))
        except (TypeError, ValueError, zlib.error) as error:
            raise DecodeError(f"not a job's context: {error}", data) from None


@dataclass(frozen=True, slots=True)
class ShardInput:
    """The documents of one shard.

    Attributes:
        first: index of the first document within the job.
    """

    first: int
    documents: tuple[str, ...]

    def encode(self) -> bytes:
        record = {"first": self.first, "documents": self.documents}
        return bytes([VERSION]) + zlib.compress(_json(record), _COMPRESSION)

    @classmethod
    def decode(cls, data: bytes) -> ShardInput:
        """Raises: DecodeError: another version, or not such a record."""
        try:
            record = json.loads(_inflate(data))
            return cls(record["first"], tuple(record["documents"]))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise DecodeError(f"not a shard's input: {error}", data) from None


@dataclass(frozen=True, slots=True)
class ShardOutput:
    """What a worker found: one log-odds (float32) a document.

    Attributes:
        first: index of the first document within the job.
        log_odds: in document order.
        truncated: indexes within the shard of documents that were cut to fit the model.
        tokens: scored tokens, without padding.
    """

    first: int
    log_odds: tuple[float, ...]
    truncated: tuple[int, ...]
    tokens: int

    def encode(self) -> bytes:
        head = _OUTPUT_HEAD.pack(
            VERSION, self.first, len(self.log_odds), len(self.truncated), self.tokens
        )
        return head + array("f", self.log_odds).tobytes() + array("I", self.truncated).tobytes()

    @classmethod
    def decode(cls, data: bytes) -> ShardOutput:
        """Raises: DecodeError: another version, or not such a record."""
        try:
            version, first, count, n_truncated, tokens = _OUTPUT_HEAD.unpack_from(data)
            if version != VERSION:
                raise DecodeError(f"output of version {version}; this one reads {VERSION}", data)
            body = data[_OUTPUT_HEAD.size :]
            log_odds, truncated = array("f"), array("I")
            log_odds.frombytes(body[: 4 * count])
            truncated.frombytes(body[4 * count : 4 * (count + n_truncated)])
            return cls(first, tuple(log_odds), tuple(truncated), tokens)
        except (struct.error, ValueError) as error:
            raise DecodeError(f"not a shard's output: {error}", data) from None


@dataclass(frozen=True, slots=True)
class Echo:
    """What the caller wants back beside the scores, for one shard.

    Attributes:
        first: index of the first document within the job.
        ids: the caller's names, in document order; None where it gave none.
        texts: the documents, or None if they were not asked for.
    """

    first: int
    ids: tuple[str | None, ...]
    texts: tuple[str, ...] | None

    def encode(self) -> bytes:
        record = {"first": self.first, "ids": self.ids, "texts": self.texts}
        return bytes([VERSION]) + zlib.compress(_json(record), _COMPRESSION)

    @classmethod
    def decode(cls, data: bytes) -> Echo:
        """Raises: DecodeError: another version, or not such a record."""
        try:
            record = json.loads(_inflate(data))
            texts = record["texts"]
            return cls(
                record["first"], tuple(record["ids"]), tuple(texts) if texts is not None else None
            )
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise DecodeError(f"not a shard's echo: {error}", data) from None


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode()


def _inflate(data: bytes) -> bytes:
    if not data or data[0] != VERSION:
        raise DecodeError(f"version {data[:1]!r}; this one reads {VERSION}", data)
    return zlib.decompress(data[1:])


def float32(values: Sequence[float]) -> tuple[float, ...]:
    """The values as they come back from the ledger."""
    return tuple(array("f", values))
