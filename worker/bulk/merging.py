"""The last entry of a batch: its parts into the output, its bad lines into the errors file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from rerankq.bulk import storage
from rerankq.bulk.formats import error_line, writer
from rerankq.bulk.records import Bad
from rerankq.bulk.spec import BatchSpec
from rerankq.ledger.batches import ScoredPart
from worker.bulk.scoring import bad_of, part_url


def merge(spec: BatchSpec, parts: Sequence[ScoredPart]) -> bool:
    """Write the output, in one step at its end; the same again if it is run again.

    Args:
        parts: in the order of the input; of a batch that was stopped, those there are.

    Returns: whether there are bad lines.

    Raises: OSError.
    """
    urls = [part_url(spec, part.name) for part in parts if part.pairs]
    if spec.partitioned:
        names = [url.rsplit("/", 1)[-1] for url in urls]
        storage.put(storage.join(spec.output, "_SUCCESS"), json.dumps({"parts": names}).encode())
    else:
        writer(spec.output_format).merged(spec, urls)
    if not any(part.bad for part in parts):
        return False
    with storage.writing(spec.errors) as file:
        for line in _bad_lines(spec, parts):
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    return True


def clean_up(spec: BatchSpec) -> None:
    """Delete what only the batch needed."""
    storage.delete_tree(spec.work)


def _bad_lines(spec: BatchSpec, parts: Iterable[ScoredPart]) -> Iterator[dict[str, Any]]:
    before = 0
    for part in parts:
        if part.bad:
            with closing(storage.open_at(storage.join(spec.work, bad_of(part.name)), 0)) as file:
                for text in file:
                    bad = Bad(*json.loads(text))
                    yield error_line(spec.input_format, bad, before + bad.line + 1)
        before += part.lines
