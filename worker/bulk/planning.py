"""Entry 0 of a batch: the input cut into chunks that take some seconds each."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import islice

from rerankq.bulk import storage
from rerankq.bulk.chunks import Chunk
from rerankq.bulk.formats import reader
from rerankq.bulk.inputs import present
from rerankq.bulk.spec import BatchSpec
from rerankq.ledger.batches import PLANNED_AT_ONCE, planned
from rerankq.ledger.sharding import BYTES_PER_TOKEN, FIRST_GUESS_TOKENS_PER_S
from rerankq.ledger.store import Ledger
from worker.bulk.merging import SUCCESS

CHUNK_S = 2.0  # of device time: what a kill costs; longer ones become suspects sooner, too
LEAST_BYTES, MOST_BYTES = 64 * 1024, 16 * 1024 * 1024
MOST_CHUNKS = 200_000  # of a batch, in the ledger's memory; a larger input has larger chunks
CUT = "cut"  # the file that says it


def plan(ledger: Ledger, entry: str, spec: BatchSpec, tokens_per_s: float) -> None:
    """Cut the input and put the chunks down.

    Args:
        tokens_per_s: this worker's rate; 0 while it is not known.

    Raises: BadInput, OSError: see `Reader.chunks`.
    """
    rate = tokens_per_s or FIRST_GUESS_TOKENS_PER_S
    present(spec)
    # In one piece it is as large as what it stands for: of a run, the documents that it names.
    size = sum(chunk.size for chunk in reader(spec.input_format).chunks(spec, sys.maxsize))
    agreed = ledger.run(planned(entry, _cut_before(spec) or _cut(size, rate)))
    if agreed.chunks is None:
        return
    cut = agreed.cut
    storage.put(storage.join(spec.work, CUT), str(cut).encode())
    if spec.partitioned:
        storage.delete(storage.join(spec.output, SUCCESS))
    before = total = 0
    for some, last in _slices(reader(spec.input_format).chunks(spec, cut)):
        total += sum(chunk.size for chunk in some)
        count = before + len(some)
        tokens = max(1, total // BYTES_PER_TOKEN // max(1, count))
        stride = max(1, int(1000 * tokens / rate))
        call = planned(entry, cut, before, some, last=last, chunk_tokens=tokens, stride_ms=stride)
        if ledger.run(call).chunks is None:
            return
        before = count


def _cut_before(spec: BatchSpec) -> int | None:
    """As the batch was cut whose parts lie there: cut otherwise, none of them would be used."""
    try:
        with closing(storage.open_at(storage.join(spec.work, CUT), 0)) as file:
            return int(file.read())
    except FileNotFoundError:
        return None


def _cut(size: int, rate: float) -> int:
    bounded = min(MOST_BYTES, max(LEAST_BYTES, rate * CHUNK_S * BYTES_PER_TOKEN))
    return int(max(bounded, size / MOST_CHUNKS))


def _slices(chunks: Iterator[Chunk]) -> Iterator[tuple[list[Chunk], bool]]:
    """As many as one call takes, and whether they are the last."""
    some = list(islice(chunks, PLANNED_AT_ONCE))
    while True:
        more = list(islice(chunks, PLANNED_AT_ONCE))
        yield some, not more
        if not more:
            return
        some = more
