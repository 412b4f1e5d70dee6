"""What the formats made of lines share."""

from __future__ import annotations

import base64
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from rerankq.bulk import storage
from rerankq.bulk.chunks import Chunk, byte_chunks
from rerankq.bulk.formats.checks import Wrong, fit, json_object, too_long
from rerankq.bulk.inputs import present
from rerankq.bulk.lines import count, lines
from rerankq.bulk.records import Bad, Record, Scored
from rerankq.bulk.spec import BatchSpec

_BLOCK = 4 << 20  # bytes


@dataclass(frozen=True, slots=True)
class JsonLines:
    """Reads a format of one JSON object a line.

    Attributes:
        record: of the spec, the line's number and its object. Raises: Wrong.
        name: of the record, from its object, for errors.
    """

    record: Callable[[BatchSpec, int, dict[str, Any]], Record]
    name: Callable[[dict[str, Any]], str | None]

    def chunks(self, spec: BatchSpec, most_bytes: int) -> Iterator[Chunk]:
        yield from byte_chunks(present(spec).size, most_bytes)

    def read(self, spec: BatchSpec, chunk: Chunk) -> Iterator[Record | Bad]:
        present(spec)
        for line in lines(spec.input, chunk.start, chunk.stop):
            if line.text is None:
                yield too_long(line.number)
            else:
                yield self._read(spec, line.number, line.text)

    def count(self, spec: BatchSpec, chunk: Chunk) -> int:
        return count(spec.input, chunk.start, chunk.stop)

    def _read(self, spec: BatchSpec, number: int, text: bytes) -> Record | Bad:
        fields: dict[str, Any] = {}
        try:
            fields = json_object(text)
            return fit(spec, self.record(spec, number, fields))
        except Wrong as error:
            return error.bad(number, self.name(fields))


@dataclass(frozen=True, slots=True)
class LineWriter:
    """Writes a format whose parts, one behind the other, are the whole.

    Attributes:
        lines: of one record.
    """

    suffix: str
    lines: Callable[[BatchSpec, Scored], Iterator[str]]

    def part(self, spec: BatchSpec, scored: Sequence[Scored]) -> bytes:
        told = (line for one in scored for line in self.lines(spec, one))
        return b"".join(line.encode() + b"\n" for line in told)

    def merged(self, spec: BatchSpec, parts: Sequence[str]) -> None:
        with storage.writing(spec.output) as out:
            for file in storage.open_all(parts):
                with closing(file) as part:
                    shutil.copyfileobj(part, out, _BLOCK)


def json_line(value: dict[str, Any]) -> str:
    """JSON that encodes as UTF-8, whatever other formats' values it holds."""
    try:
        told = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        # NaN of a Parquet column, which JSON has no word for.
        told = json.dumps(_without_nan(value), ensure_ascii=False, default=_plain)
    try:
        told.encode()
    except UnicodeEncodeError:
        return json.dumps(_without_nan(value), default=_plain)
    return told


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    isoformat = getattr(value, "isoformat", None)
    return isoformat() if isoformat else str(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(its) for key, its in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(its) for its in value]
    return value
