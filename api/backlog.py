"""What waits, for one model or for several together, and who is there for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.fleet import total_rate
from api.pools import Pool
from rerankq.ledger.async_store import LaneCounts
from rerankq.ledger.batches import MOST_BATCHES
from rerankq.ledger.records import WorkerInfo
from rerankq.status import CHUNKS, Lane
from rerankq.views import ChunksView, LaneView, OpenBatch, QueueView


@dataclass(frozen=True, slots=True)
class Backlog:
    """One model's, in ledger entries (shards, chunks)."""

    lanes: dict[Lane, LaneCounts]
    chunks: LaneCounts
    workers: list[WorkerInfo]

    @property
    def sets(self) -> dict[str, LaneCounts]:
        """Lanes and chunks: all there is to score."""
        return {str(lane): counts for lane, counts in self.lanes.items()} | {CHUNKS: self.chunks}

    @property
    def entries(self) -> int:
        return sum(counts.waiting + counts.in_flight for counts in self.sets.values())

    @property
    def tokens(self) -> int:
        return sum(counts.tokens for counts in self.sets.values())

    @property
    def drain_s(self) -> float | None:
        """None while there is a backlog and no worker has measured its rate."""
        rate = total_rate(self.workers)
        return 0.0 if self.entries == 0 else self.tokens / rate if rate else None


async def backlog(pool: Pool) -> Backlog:
    """As it is now. Raises: redis.RedisError."""
    lanes = {lane: await pool.ledger.lane(lane) for lane in Lane}
    return Backlog(lanes, await pool.ledger.lane(CHUNKS), await pool.fleet.ready())


async def open_batches(pool: Pool, caller: str) -> list[OpenBatch]:
    """Those of the caller that are not final, among its newest. Raises: redis.RedisError."""
    rows = await pool.ledger.newest_batches(caller, None, MOST_BATCHES)
    found = [batch for _, _, batch in rows if batch is not None and not batch.final]
    entries = await pool.ledger.open_entries([batch.id for batch in found])
    counts = await pool.ledger.lane(CHUNKS)
    of_all = max(1, counts.waiting + counts.in_flight)
    return [
        OpenBatch(
            id=batch.id,
            status=batch.phase,
            chunks=batch.chunks,
            chunks_done=batch.done,
            share=min(1.0, open_ / of_all),
        )
        for batch, open_ in zip(found, entries, strict=True)
    ]


def queue_view(backlogs: Sequence[Backlog], batches: list[OpenBatch]) -> QueueView:
    """All of them as one; their workers drain them side by side."""
    times = [each.drain_s for each in backlogs]
    known = [seconds for seconds in times if seconds is not None]
    return QueueView(
        lanes={lane: lane_view([each.lanes[lane] for each in backlogs]) for lane in Lane},
        chunks=chunks_view([each.chunks for each in backlogs]),
        batches=batches,
        backlog=sum(each.entries for each in backlogs),
        backlog_tokens=sum(each.tokens for each in backlogs),
        drain_s=max(known) if len(known) == len(times) else None,
        workers=sum(len(each.workers) for each in backlogs),
    )


def chunks_view(counts: Sequence[LaneCounts]) -> ChunksView:
    together = lane_view(counts)
    return ChunksView(
        waiting=together.waiting, in_flight=together.in_flight, oldest_s=together.oldest_s
    )


def lane_view(counts: Sequence[LaneCounts]) -> LaneView:
    """A lane of several models as one: its oldest entry, paused if it is for any of them."""
    oldest = [each.oldest_ms for each in counts if each.oldest_ms is not None]
    return LaneView(
        waiting=sum(each.waiting for each in counts),
        in_flight=sum(each.in_flight for each in counts),
        oldest_s=max(oldest) / 1000 if oldest else None,
        paused=any(each.paused for each in counts),
    )
