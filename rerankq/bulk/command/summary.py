"""What is said of a batch once it has ended."""

from __future__ import annotations

from collections.abc import Iterator

from rerankq.bulk import storage
from rerankq.bulk.command.progress import duration
from rerankq.bulk.command.state import BatchState

_SHORTEST_S = 1.0  # seconds below which a rate says nothing


def lines(state: BatchState) -> Iterator[str]:
    """For a person."""
    if state.error is not None:
        yield f"{state.id} {state.phase}: {state.error.code}: {state.error.detail}"
    else:
        yield f"{state.id} {state.phase}"
    counts = [f"{state.records:,} records", f"{state.pairs:,} pairs", f"{state.tokens:,} tokens"]
    if state.truncated:
        counts.append(f"{state.truncated:,} documents cut to fit the model")
    took = None if state.finished is None else state.finished - state.created
    if took is not None:
        counts.append(duration(took))
        if took >= _SHORTEST_S:
            counts.append(f"{state.pairs / took:,.0f} pairs/s")
    yield ", ".join(counts)
    if state.bad:
        where = f": see {storage.shown(state.errors)}" if state.errors else ""
        yield f"{state.bad:,} lines could not be scored{where}"
    if state.output and state.phase == "completed":
        yield f"output: {storage.shown(state.output)}"
    elif state.output:
        yield f"what was scored: {storage.shown(state.output)}"


def row(state: BatchState) -> str:
    """One line of a list of batches."""
    share = f"{state.done / state.chunks:4.0%}" if state.chunks else "   -"
    share = "100%" if state.phase == "completed" else share
    return f"{state.id}  {state.phase:11}  {share}  {state.pairs:,} pairs, {state.bad:,} bad lines"
