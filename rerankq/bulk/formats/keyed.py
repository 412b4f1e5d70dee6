"""Formats whose record is a run of consecutive lines of one query."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rerankq.bulk import storage
from rerankq.bulk.chunks import Chunk
from rerankq.bulk.formats.checks import Wrong, fitted, too_large, too_long
from rerankq.bulk.inputs import present
from rerankq.bulk.lines import Key, Run, count, lines, runs
from rerankq.bulk.records import Bad, BadInput, Record
from rerankq.bulk.spec import BatchSpec


class Keyed:
    """What the readers of such formats share."""

    def count(self, spec: BatchSpec, chunk: Chunk) -> int:
        return count(spec.input, chunk.start, chunk.stop)


def present_and_fitting(spec: BatchSpec, key: Key, form: str) -> int:
    """The input's size in bytes.

    Args:
        form: what a line must be, for the message.

    Raises: BadInput: it cannot be used, or its first line says that it is another kind of file.
    """
    size = present(spec).size
    first = next(lines(spec.input, 0, None), None)
    if first is not None and (first.text is None or key(first.text) is None):
        where = f"line {first.number + 1} of {storage.shown(spec.input)}"
        raise BadInput("invalid_input", f"{where} is not {form}")
    return size


def records(
    spec: BatchSpec,
    chunk: Chunk,
    key: Key,
    form: str,
    read: Callable[[Run], Iterator[Record | Bad]],
    most: int | None = None,
) -> Iterator[Record | Bad]:
    """
    Args:
        read: a run into its record, and into a `Bad` for each line that does not belong in it.
        most: as of `runs`.

    Raises: BadInput: the input has changed; OSError: try again.
    """
    present(spec)
    for run in runs(spec.input, chunk.start, chunk.stop, key, most):
        first = run.lines[0]
        if first.text is None:
            yield too_long(first.number)
        elif run.key is None:
            yield Wrong("invalid_record", f"the line is not {form}").bad(first.number)
        elif run.too_long:
            yield too_large(first.number, run.key.decode(errors="replace"))
        else:
            for told in read(run):
                yield fitted(spec, told) if isinstance(told, Record) else told
