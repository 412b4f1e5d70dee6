"""The batch of an order: the one that runs already, the one that is done, or a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from rerankq.bulk import storage
from rerankq.bulk.command.notes import Notes
from rerankq.bulk.command.order import Order
from rerankq.bulk.command.service import FINGERPRINT, PLACE, Service
from rerankq.bulk.command.state import BatchState
from rerankq.errors import InvalidRequest, NotFound

RECENT = 300  # batches that are looked through for one of this order


@dataclass(frozen=True, slots=True)
class Begun:
    """
    Attributes:
        how: `attached`: an earlier run started it; `done`: its output is there already.
        state: None where it was only just started.
    """

    batch_id: str
    how: Literal["started", "attached", "done"]
    state: BatchState | None = None


def begin(
    service: Service, order: Order, notes: Notes, *, force: bool, sent: Callable[[float], None]
) -> Begun:
    """Once this returns the batch is durable, and a second run of the command will find it.

    Args:
        force: score again what an earlier run has finished.
    """
    recent = list(islice(service.recent(), RECENT))
    mine = _mine(service, order, notes, recent)
    running = next((one for one in mine if not one.final and one.phase != "cancelling"), None)
    if running is not None:
        notes.note_batch(running.id)
        return Begun(running.id, "attached", running)
    done = None if force else _finished(order, mine, recent)
    if done is not None and notes.batch == done.id:
        return Begun(done.id, "attached", done)  # its output was not fetched to the end
    if done is not None and _is_there(order.spec.output):
        return Begun(done.id, "done", done)
    if done is not None and service.holds_output(done):
        return Begun(done.id, "attached", done)
    notes.drop_batch()
    # Two runs that start at the same time know the same last batch, and so start the same one.
    key = hashlib.sha256(f"{order.fingerprint} {mine[0].id if mine else ''}".encode()).hexdigest()
    try:
        batch_id = service.start(order, key, notes, sent)
    except InvalidRequest as refusal:
        if refusal.problem.code != "idempotency_conflict":
            raise
        # The other run has uploaded the same input under another id.
        other = next(
            iter(_mine(service, order, notes, list(islice(service.recent(), RECENT)))), None
        )
        if other is None or other.final:
            raise
        batch_id = other.id
    notes.note_batch(batch_id)
    return Begun(batch_id, "started")


def _mine(
    service: Service, order: Order, notes: Notes, recent: Sequence[BatchState]
) -> list[BatchState]:
    """Of this very order, newest first."""
    mine = [one for one in recent if one.marks.get(FINGERPRINT) == order.fingerprint]
    if notes.batch is not None and all(one.id != notes.batch for one in mine):
        with suppress(NotFound):
            mine.append(service.state(notes.batch))
    return mine


def _finished(
    order: Order, mine: Sequence[BatchState], recent: Sequence[BatchState]
) -> BatchState | None:
    """The batch that made what lies at the output; None: another command wrote there since."""
    last = next(
        (one for one in recent if one.phase == "completed" and one.marks.get(PLACE) == order.place),
        None,
    )
    if last is not None and last.marks.get(FINGERPRINT) != order.fingerprint:
        return None
    return next((one for one in mine if one.phase == "completed"), None)


def _is_there(output: str) -> bool:
    try:
        return storage.exists(output)
    except OSError:
        return True  # not for this machine to see; the service wrote it
