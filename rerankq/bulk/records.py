"""What a chunk of any format is read into, and what its output is written from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rerankq.bulk.chunks import Chunk
from rerankq.bulk.spec import BatchSpec


@dataclass(frozen=True, slots=True)
class Record:
    """One query and its candidates.

    Attributes:
        line: counted from 0 within the chunk, of the record's first line (Parquet: row).
        query_id: as the input has it; None where it has none.
        ids: of the documents, as the input has them; None where it has none, or one has none.
        source: all else that the input says of it, as its format has it, carried through to
            outputs of the same form.
        instruction: of this record alone; None: the batch's.
    """

    line: int
    query: str
    documents: Sequence[str]
    query_id: str | None = None
    ids: Sequence[str | None] | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that cannot be scored.

    Attributes:
        line: as in `Record`.
        code: stable, such as `invalid_json`, `invalid_record`, `missing_document`.
        detail: names the field and what is wrong with it.
        query_id: where it is known (OpenAI's batches: the custom_id).
    """

    line: int
    code: str
    detail: str
    query_id: str | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A record with what the model says.

    Attributes:
        log_odds: in document order.
        truncated: places of the documents that were cut to fit the model.
        tokens: scored, of all pairs.
        model, revision: by which it was scored.
    """

    record: Record
    log_odds: Sequence[float]
    truncated: Sequence[int]
    tokens: int
    model: str
    revision: str

    def ranking(self, top: int | None) -> list[int]:
        """Places of the documents, best first, ties by place."""
        places = sorted(range(len(self.log_odds)), key=lambda i: (-self.log_odds[i], i))
        return places[:top]


class Reader(Protocol):
    """One input format. Stateless: any worker reads any chunk."""

    def chunks(self, spec: BatchSpec, most_bytes: int) -> Iterator[Chunk]:
        """Cut the input, without reading more of it than that takes.

        Raises: BadInput: the input is missing, empty of columns, or not of this format.
        """
        ...

    def read(self, spec: BatchSpec, chunk: Chunk) -> Iterator[Record | Bad]:
        """The chunk's records in order; one at a time in memory, for text formats.

        Raises: BadInput: the input is not what it was when it was cut; OSError: try again.
        """
        ...

    def count(self, spec: BatchSpec, chunk: Chunk) -> int:
        """Lines that start in the chunk, blank ones too (Parquet: its rows), so that a record's
        line in the whole input can be told.

        Raises: as `read`.
        """
        ...


class Writer(Protocol):
    """One output format."""

    @property
    def suffix(self) -> str:
        """Of a part's name, such as .jsonl."""
        ...

    def part(self, spec: BatchSpec, scored: Sequence[Scored]) -> bytes:
        """A whole part: what the chunk's records come to, in order. Deterministic."""
        ...

    def merged(self, spec: BatchSpec, parts: Sequence[str]) -> None:
        """Write the output of these parts' URLs, in order; published last, in one step."""
        ...


class BadInput(Exception):
    """The input as a whole cannot be used. The message names the file and, if it is one, the line.

    Attributes:
        code: stable, such as `input_missing`, `input_changed`, `input_truncated`.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
