"""Entry 0 of a batch: the input cut into chunks that take some seconds each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import islice

from rerankq.bulk import storage
from rerankq.bulk.chunks import Chunk
from rerankq.bulk.formats import reader
from rerankq.bulk.records import BadInput
from rerankq.bulk.spec import BatchSpec
from rerankq.ledger.batches import PLANNED_AT_ONCE, planned
from rerankq.ledger.sharding import BYTES_PER_TOKEN, FIRST_GUESS_TOKENS_PER_S
from rerankq.ledger.store import Ledger

CHUNK_S = 4.0  # of device time: what a kill costs, and the longest others wait for the device
LEAST_BYTES, MOST_BYTES = 64 * 1024, 16 * 1024 * 1024
MOST_CHUNKS = 200_000  # of a batch, in the ledger's memory; a larger input has larger chunks
# Bytes that are scored for a byte of the input: a run names documents of some hundred bytes.
BYTES_A_BYTE = {"trec": 20}


def check_version(spec: BatchSpec) -> None:
    """Raises: BadInput: the input is not what the batch was made for."""
    found = storage.stat(spec.input).version
    if found != spec.version:
        raise BadInput("input_changed", f"{spec.input} has changed since the batch was made")


def plan(
    ledger: Ledger,
    entry: str,
    spec: BatchSpec,
    tokens_per_s: float,
    watch: AbstractContextManager[None],
) -> None:
    """Cut the input and put the chunks down.

    Args:
        tokens_per_s: this worker's rate; 0 while it is not known.

    Raises: BadInput, OSError: see `Reader.chunks`.
    """
    factor = BYTES_A_BYTE.get(spec.input_format, 1)
    rate = tokens_per_s or FIRST_GUESS_TOKENS_PER_S
    with watch:
        size = storage.stat(spec.input).size
    most = _most_bytes(rate, size, factor)
    before = total = 0
    chunks = reader(spec.input_format).chunks(spec, most)
    for some, last in _slices(chunks):
        total += sum(chunk.size for chunk in some)
        count = before + len(some)
        tokens = max(1, total * factor // BYTES_PER_TOKEN // max(1, count))
        stride = max(1, int(1000 * tokens / rate))
        call = planned(entry, before, some, last=last, chunk_tokens=tokens, stride_ms=stride)
        if ledger.run(call) < 0:
            return
        before = count


def _most_bytes(rate: float, size: int, factor: int) -> int:
    wanted = rate * CHUNK_S * BYTES_PER_TOKEN
    bounded = min(MOST_BYTES, max(LEAST_BYTES, wanted))
    return max(1, int(max(bounded / factor, size / MOST_CHUNKS)))


def _slices(chunks: Iterator[Chunk]) -> Iterator[tuple[list[Chunk], bool]]:
    """As many as one call takes, and whether they are the last."""
    some = list(islice(chunks, PLANNED_AT_ONCE))
    while True:
        more = list(islice(chunks, PLANNED_AT_ONCE))
        yield some, not more
        if not more:
            return
        some = more
