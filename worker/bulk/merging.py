"""The last entry of a batch: its parts into the output, its bad lines into the errors file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from rerankq.bulk import storage
from rerankq.bulk.formats import error_line, writer
from rerankq.bulk.records import Bad
from rerankq.bulk.spec import BatchSpec
from rerankq.ledger.batches import ScoredPart
from worker.bulk.scoring import bad_of, part_url

SUCCESS = "_SUCCESS"  # in a folder of parts: they are all, and these


def merge(spec: BatchSpec, parts: Sequence[ScoredPart], *, stopped: bool) -> bool:
    """Write the output, in one step at its end; the same again if it is run again.

    Args:
        parts: in the order of the input.
        stopped: they are not all.

    Returns: whether there are bad lines.

    Raises: OSError.
    """
    urls = [part_url(spec, part.name) for part in parts if part.pairs]
    if stopped and not urls:
        pass  # what was written before is worth more than nothing
    elif spec.partitioned:
        names = [storage.name(url) for url in urls]
        for url in storage.listing(spec.output):  # of a late worker, or of other options
            if storage.name(url).startswith("part-") and storage.name(url) not in names:
                storage.delete(url)
        storage.put(storage.join(spec.output, SUCCESS), json.dumps({"parts": names}).encode())
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
    around = spec.work.rsplit("/", 1)[0]
    if not storage.listing(around):
        storage.delete_tree(around)


def _bad_lines(spec: BatchSpec, parts: Sequence[ScoredPart]) -> Iterator[dict[str, Any]]:
    files = storage.open_all(
        [storage.join(spec.work, bad_of(part.name)) for part in parts if part.bad]
    )
    before = 0
    for part in parts:
        if part.bad:
            with closing(next(files)) as file:
                for text in file:
                    bad = Bad(*json.loads(text))
                    yield error_line(spec.input_format, bad, before + bad.line + 1)
        before += part.lines
