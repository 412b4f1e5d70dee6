"""What is asked of whoever runs batches: the API, or Redis itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from rerankq.bulk.command.notes import Notes
from rerankq.bulk.command.order import Order
from rerankq.bulk.command.state import BatchState
from rerankq.errors import NotFound
from rerankq.schema import Problem

FINGERPRINT, PLACE = "rerankq_bulk", "rerankq_bulk_output"  # in a batch's metadata


@dataclass(frozen=True, slots=True)
class Capacity:
    """
    Attributes:
        tokens_per_s: of all ready workers together; None while nobody has measured.
        max_length: tokens after which a pair is cut; None where no worker says.
    """

    workers: int
    tokens_per_s: float | None
    max_length: int | None


class Service(Protocol):
    """Raises of every method: ConnectionFailed, and APIError where the service refuses."""

    def recent(self) -> Iterator[BatchState]:
        """Newest first."""
        ...

    def check(self, order: Order) -> None:
        """Raises: UsageError: this service cannot do that."""
        ...

    def start(self, order: Order, key: str, notes: Notes, sent: Callable[[float], None]) -> str:
        """The new batch's id, or that of the one this key has started.

        Args:
            sent: hears which share of the input has been uploaded, if it is.
        """
        ...

    def state(self, batch_id: str) -> BatchState:
        """Raises: NotFound."""
        ...

    def listening(self, batch_id: str) -> AbstractContextManager[Callable[[float], bool]]:
        """Gives what waits for so many seconds, or less if it is told that the batch ended.

        It says whether it is told at all, or did nothing but wait.
        """
        ...

    def cancel(self, batch_id: str) -> BatchState:
        """Raises: NotFound."""
        ...

    def holds_output(self, state: BatchState) -> bool:
        """Whether the output can be fetched (again)."""
        ...

    def fetch(self, state: BatchState, order: Order) -> BatchState:
        """Bring what the service holds to where the order wants it; says where that is."""
        ...

    def capacity(self, model: str | None) -> Capacity: ...


def marks(order: Order) -> dict[str, str]:
    return {FINGERPRINT: order.fingerprint, PLACE: order.place}


def unknown(batch_id: str) -> NotFound:
    detail = f"there is no batch {batch_id}, or what was known of it is no longer kept"
    return NotFound(Problem(title="Not Found", status=404, code="not_found", detail=detail))
