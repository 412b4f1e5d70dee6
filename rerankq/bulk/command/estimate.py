"""What an order would come to, from a sample of its input."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from rerankq.bulk import formats, storage
from rerankq.bulk.chunks import Chunk
from rerankq.bulk.command.order import Order
from rerankq.bulk.command.progress import duration
from rerankq.bulk.command.service import Capacity
from rerankq.bulk.records import Bad, BadInput, Record
from rerankq.errors import UsageError
from rerankq.ledger.sharding import pair_costs

CHUNK_BYTES = 1 << 20
CHUNKS_CUT = 250  # of a larger input only the beginning is looked at
CHUNKS_READ = 5
DEFAULT_MAX_LENGTH = 8192  # tokens; while no worker says what its model takes


@dataclass(frozen=True, slots=True)
class Estimate:
    """
    Attributes:
        whole: whether all of the input was read, so that the counts are no estimates.
        tokens: as a queue without a tokenizer counts them, from bytes.
        seconds: with all ready workers at it and nothing else; None: unknown.
    """

    whole: bool
    records: int
    bad: int
    pairs: int
    tokens: int
    workers: int | None
    seconds: float | None

    def as_json(self) -> dict[str, Any]:
        return {"object": "rerank.batch.estimate", **asdict(self)}

    def table(self) -> str:
        about = "" if self.whole else "about "
        rows = [
            ("records", f"{about}{self.records:,}"),
            ("bad lines", f"{about}{self.bad:,}"),
            ("pairs", f"{about}{self.pairs:,}"),
            ("tokens", f"about {self.tokens:,}"),
            ("workers", "unknown" if self.workers is None else f"{self.workers}"),
            ("time", "unknown" if self.seconds is None else f"about {duration(self.seconds)}"),
        ]
        return "\n".join(f"{name:10} {value}" for name, value in rows)


@dataclass(slots=True)
class _Counts:
    size: int = 0
    records: int = 0
    bad: int = 0
    pairs: int = 0
    tokens: int = 0


def of(order: Order, capacity: Capacity | None) -> Estimate:
    """
    Args:
        capacity: None: not known.

    Raises: UsageError: the input cannot be read from here, or is not of its format.
    """
    longest = capacity.max_length if capacity is not None else None
    try:
        total, counts = _sampled(order, longest or DEFAULT_MAX_LENGTH)
    except (BadInput, OSError) as error:
        raise UsageError(f"no estimate: {error}") from None
    scale = total / counts.size if counts.size else 0.0
    tokens = round(counts.tokens * scale)
    rate = capacity.tokens_per_s if capacity is not None else None
    return Estimate(
        whole=counts.size == total,
        records=round(counts.records * scale),
        bad=round(counts.bad * scale),
        pairs=round(counts.pairs * scale),
        tokens=tokens,
        workers=capacity.workers if capacity is not None else None,
        seconds=round(tokens / rate, 1) if rate else None,
    )


def _sampled(order: Order, max_length: int) -> tuple[int, _Counts]:
    """Bytes of the whole input as its chunks count them, and what the sample has."""
    with tempfile.TemporaryDirectory() as work:
        spec = order.spec.model_copy(update={"work": work})
        reader = formats.reader(spec.input_format)
        cut = reader.chunks(spec, CHUNK_BYTES)
        chunks = list(islice(cut, CHUNKS_CUT))
        known = sum(chunk.size for chunk in chunks)
        more = next(cut, None) is not None
        counts = _Counts()
        for chunk in _spread(chunks):
            counts.size += chunk.size
            for found in reader.read(spec, chunk):
                _count(counts, found, spec.instruction, max_length)
    return (max(known, storage.stat(spec.input).size) if more else known), counts


def _spread(chunks: Sequence[Chunk]) -> Sequence[Chunk]:
    if len(chunks) <= CHUNKS_READ:
        return chunks
    return [chunks[i * (len(chunks) - 1) // (CHUNKS_READ - 1)] for i in range(CHUNKS_READ)]


def _count(counts: _Counts, found: Record | Bad, instruction: str | None, max_length: int) -> None:
    counts.records += 1
    if isinstance(found, Bad):
        counts.bad += 1
        return
    costs = pair_costs(found.query, found.instruction or instruction, found.documents, max_length)
    counts.pairs += len(costs)
    counts.tokens += sum(costs)
