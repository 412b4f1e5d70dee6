"""The table of a run, where it bends, and what one Redis can carry by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.scaling.meters import Use

NEARLY = 0.9  # of what there is; more of it is the limit
HEAD = (
    *("workers", "pairs/s", "efficiency", "devices busy", "a batch, ms", "shards/s"),
    *("workers' CPU", "a worker, ms/shard", "Redis' CPU", "Redis, ms/shard"),
    *("scripts/shard", "commands/shard", "kB in, out/shard", "APIs, ms/shard", "machine"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One number of workers.

    Attributes:
        token_s: what a token takes a device.
        idle: what it uses while there is no work.
        dry: how often the load was too slow.
    """

    workers: int
    token_s: float
    idle: Use
    use: Use
    dry: int = 0

    @property
    def pairs(self) -> float:
        return self.use.workers.pairs

    @property
    def shards(self) -> float:
        return self.use.workers.shards

    @property
    def device_busy(self) -> float:
        """By the tokens it computed: a sleep that a busy machine drew out does not count."""
        return self.use.workers.computed * self.token_s / self.workers

    @property
    def worker_s(self) -> float:
        """CPU of a worker for a shard, what it needs without work left out."""
        return (self.use.workers.cpu_s - self.idle.workers.cpu_s) / self.shards

    @property
    def redis_s(self) -> float:
        """CPU of Redis for a shard from its commit to its result, in the same way."""
        return (self.use.redis - self.idle.redis) / self.shards


def efficiency(row: Row, base: Row) -> float:
    """Pairs/s of a worker against those of one among fewer."""
    return (row.pairs / row.workers) / (base.pairs / base.workers)


def capacity(row: Row) -> float:
    """Shards/s at which Redis has one core full, with as many workers."""
    return (1 - row.idle.redis) / row.redis_s


def limit(row: Row, cores: int) -> str:
    """What holds it back."""
    if row.device_busy > NEARLY:
        return "the devices, as it should be"
    if row.use.redis > NEARLY:
        return "Redis has its core full"
    use = row.use
    if use.machine > NEARLY * cores:
        ours = use.workers.cpu_s + use.redis + use.apis + use.load
        return (
            f"the machine's {cores} cores: workers {use.workers.cpu_s:.2f}, Redis {use.redis:.2f}, "
            f"load {use.load + use.apis:.2f}, others {max(0.0, use.machine - ours):.2f}"
        )
    return "the load was too slow" if row.dry else "waiting for one another"


def whole(rows: Sequence[Row], title: str, cores: int) -> str:
    """Markdown; CPU in cores."""
    base = rows[0]
    lines = [title, "", _line(HEAD), _line(["---"] * len(HEAD))]
    lines += [_line(_cells(row, base)) for row in rows]
    lines.append("")
    lines += [f"- {row.workers} workers: {limit(row, cores)}" for row in rows]
    lines += ["", *_capacity(rows[-1])]
    return "\n".join(lines)


def _cells(row: Row, base: Row) -> list[str]:
    use, shards = row.use, row.shards
    return [
        str(row.workers),
        f"{row.pairs:,.0f}",
        f"{efficiency(row, base):.2f}",
        f"{row.device_busy:.2f}",
        f"{1000 * use.workers.device_s / use.workers.batches:.1f}",
        f"{shards:.1f}",
        f"{use.workers.cpu_s:.2f}",
        f"{1000 * row.worker_s:.2f}",
        f"{use.redis:.2f}",
        f"{1000 * row.redis_s:.2f}",
        f"{use.scripts / shards:.1f}",
        f"{use.commands / shards:.0f}",
        f"{use.bytes_in / shards / 1000:.1f}, {use.bytes_out / shards / 1000:.1f}",
        f"{1000 * max(0.0, use.apis - row.idle.apis) / shards:.2f}",
        f"{use.machine:.2f}",
    ]


def _capacity(row: Row) -> list[str]:
    idle, each = row.idle, row.pairs / row.shards
    return [
        f"By the row of {row.workers} workers: one Redis has a core full at "
        f"{capacity(row):,.0f} shards/s of {each:.0f} pairs, {capacity(row) * each:,.0f} pairs/s. "
        f"Without work {row.workers} workers take {idle.redis:.3f} cores of it, "
        f"{idle.commands / row.workers:.0f} commands/s each, and {idle.workers.cpu_s:.2f} cores "
        "themselves."
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
