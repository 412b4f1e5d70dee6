"""What waits, for one model or for several together, and who is there for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.fleet import total_rate
from api.pools import Pool
from rerankq.ledger.async_store import LaneCounts
from rerankq.ledger.records import WorkerInfo
from rerankq.schema import LaneView, QueueView
from rerankq.status import Lane


@dataclass(frozen=True, slots=True)
class Backlog:
    """One model's, in ledger entries (shards)."""

    lanes: dict[Lane, LaneCounts]
    workers: list[WorkerInfo]

    @property
    def entries(self) -> int:
        return sum(counts.waiting + counts.in_flight for counts in self.lanes.values())

    @property
    def tokens(self) -> int:
        return sum(counts.tokens for counts in self.lanes.values())

    @property
    def drain_s(self) -> float | None:
        """None while there is a backlog and no worker has measured its rate."""
        rate = total_rate(self.workers)
        return 0.0 if self.entries == 0 else self.tokens / rate if rate else None


async def backlog(pool: Pool) -> Backlog:
    """As it is now. Raises: redis.RedisError."""
    lanes = {lane: await pool.ledger.lane(lane) for lane in Lane}
    return Backlog(lanes, await pool.fleet.ready())


def queue_view(backlogs: Sequence[Backlog]) -> QueueView:
    """All of them as one; their workers drain them side by side."""
    times = [each.drain_s for each in backlogs]
    known = [seconds for seconds in times if seconds is not None]
    return QueueView(
        lanes={lane: lane_view([each.lanes[lane] for each in backlogs]) for lane in Lane},
        backlog=sum(each.entries for each in backlogs),
        backlog_tokens=sum(each.tokens for each in backlogs),
        drain_s=max(known) if len(known) == len(times) else None,
        workers=sum(len(each.workers) for each in backlogs),
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
