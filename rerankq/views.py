"""What the service says of itself: its queue, its workers, the models it serves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rerankq.schema import Answer
from rerankq.status import Lane


class LaneView(Answer):
    """Ledger entries (shards) of one lane; `oldest_s` is null when nothing waits."""

    waiting: int
    in_flight: int
    oldest_s: float | None = None
    paused: bool = False


class ChunksView(Answer):
    """Ledger entries of batches, chunks for the most part; `oldest_s` as in a lane."""

    waiting: int = 0
    in_flight: int = 0
    oldest_s: float | None = None


class OpenBatch(Answer):
    """One of the caller's batches that is not final.

    Attributes:
        share: of all open chunks, those of other callers too; 0 to 1.
    """

    id: str
    status: str
    chunks: int
    chunks_done: int
    share: float


class QueueView(Answer):
    """The queue at a glance; `drain_s` is null while no worker has measured its rate.

    Attributes:
        lanes: of jobs.
        backlog, backlog_tokens: of lanes and chunks together.
    """

    lanes: dict[str, LaneView]
    chunks: ChunksView = ChunksView()
    batches: list[OpenBatch] = Field([])
    backlog: int
    backlog_tokens: int
    drain_s: float | None = None
    workers: int


class WorkerView(Answer):
    """A worker that is alive; `tokens_per_s` is 0 until it has measured."""

    id: str
    state: str
    host: str
    pid: int
    model: str
    revision: str
    dtype: str
    device: str
    tokens_per_s: float


class WorkerList(Answer):
    object: Literal["list"] = "list"
    data: list[WorkerView]


class PurgeView(Answer):
    """How many jobs a purge cancelled."""

    lane: Lane
    cancelled: int


class ServedModel(Answer):
    """A model that workers serve now, as they describe it themselves."""

    id: str
    object: Literal["model"] = "model"
    revision: str | None = None
    template: str | None = None
    score_space: str | None = None
    instruction: bool | None = None
    max_length: int | None = None
    dtype: str | None = None
    device: str | None = None
    attention: str | None = None
    engine: str | None = None
    workers: int = 0


class ModelList(Answer):
    object: Literal["list"] = "list"
    data: list[ServedModel]
