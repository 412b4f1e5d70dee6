"""A chunk: its records read, scored together with whatever else the worker has, and put away."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from typing import Protocol

from rerankq.bulk import storage
from rerankq.bulk.chunks import Chunk
from rerankq.bulk.formats import reader, writer
from rerankq.bulk.records import Bad, Record, Scored
from rerankq.bulk.spec import BatchSpec
from rerankq.ledger.batches import LOST, ScoredPart


def counts_of(name: str) -> str:
    """The file that says what became of a part; written last."""
    return f"{name}.done"


def bad_of(name: str) -> str:
    """The file of a part's bad lines."""
    return f"{name}.bad"


def part_url(spec: BatchSpec, name: str) -> str:
    """Where a part lies: with a partitioned output it is the output."""
    folder = spec.output if spec.partitioned else spec.work
    return storage.join(folder, name + writer(spec.output_format).suffix)


def part_name(spec: BatchSpec, chunk: Chunk, model: str) -> str:
    """Of a chunk as this model scores it, so that a part that is there needs no second scoring.

    It sorts as the input does, and names the range, since another worker's rate may cut otherwise.
    """
    return f"part-{chunk.start:016d}-{chunk.stop:016d}-{spec.fingerprint(model)}"


def finished(spec: BatchSpec, name: str) -> ScoredPart | None:
    """What became of this part if some worker has put it away, and it is still there."""
    try:
        with closing(storage.open_at(storage.join(spec.work, counts_of(name)), 0)) as file:
            part = ScoredPart.decode(file.read())
    except FileNotFoundError:
        return None
    lost = (part.pairs and not storage.exists(part_url(spec, name))) or (
        part.bad and not storage.exists(storage.join(spec.work, bad_of(name)))
    )
    return None if lost else part


Watch = Callable[[], AbstractContextManager[None]]  # around each step that could hang


class Scorer(Protocol):
    """What becomes of a chunk's records."""

    def add(self, record: Record) -> Bad | None: ...

    def results(self) -> Sequence[Scored | Bad]: ...


class GivenUp:
    """Scores none of a chunk: workers died of it, alone with it, again and again."""

    def add(self, record: Record) -> Bad:
        detail = "the worker died again and again while this line or one near it was scored"
        return Bad(record.line, "worker_lost", detail, record.query_id)

    def results(self) -> Sequence[Scored | Bad]:
        return ()


def score(
    spec: BatchSpec, chunk: Chunk, name: str, flow: Scorer, watch: Watch
) -> tuple[ScoredPart, dict[str, int]]:
    """Score a chunk and put its part away, last of all what says that it is there.

    Returns: the part, and how many of its lines are lost by our fault, by their code.

    Raises:
        Abandoned: see `Flow`.
        BadInput, OSError: see `Reader.read`.
    """
    bad: list[Bad] = []
    records = 0
    source = reader(spec.input_format)
    reading = source.read(spec, chunk)
    while True:
        with watch():
            found = next(reading, None)
        if found is None:
            break
        records += 1
        wrong = flow.add(found) if isinstance(found, Record) else found
        if wrong is not None:
            bad.append(wrong)
    results = flow.results()  # none of them, if the entry is another's by now
    scored = [one for one in results if isinstance(one, Scored)]
    bad += [one for one in results if isinstance(one, Bad)]
    with watch():
        bad.sort(key=lambda one: one.line)
        part = ScoredPart(
            name=name,
            lines=source.count(spec, chunk),
            pairs=sum(len(one.log_odds) for one in scored),
            tokens=sum(one.tokens for one in scored),
            truncated=sum(len(one.truncated) for one in scored),
            records=records,
            bad=len(bad),
        )
        lost = Counter(one.code for one in bad if one.code in LOST)
        _put_away(spec, part, scored, bad, again=lost.total() > 0)
        return part, lost


def _put_away(
    spec: BatchSpec,
    part: ScoredPart,
    scored: Sequence[Scored],
    bad: Sequence[Bad],
    *,
    again: bool,
) -> None:
    """Args: again: a later batch is to try this chunk once more, so that it is not said done."""
    if scored:
        made = writer(spec.output_format).part(spec, scored)
        storage.put(part_url(spec, part.name), made)
    if bad:
        told = [json.dumps([one.line, one.code, one.detail, one.query_id]) for one in bad]
        storage.put(storage.join(spec.work, bad_of(part.name)), "\n".join(told).encode())
    if not again:
        storage.put(storage.join(spec.work, counts_of(part.name)), part.encode().encode())
