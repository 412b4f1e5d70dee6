"""What a scaler can read at one moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seen:
    """The ledger's numbers are of this moment, Prometheus' of its last scrape.

    Attributes:
        busy_tenths: of devices, over the last minute, as heartbeats said it (`ZCARD busy`).
        pending: open entries, waiting and in flight (`ZCARD pending`).
        waiting: entries no worker holds: what a list's length shows.
        scraped_work_s: device time of all open entries.
        scraped_p95_s: of interactive answers within the last minute; None without any.
        cores: CPU that each ready pod used since the last look.
        unready: pods that are starting, or have been ready for less than a look.
    """

    busy_tenths: int
    pending: int
    waiting: int
    scraped_work_s: float
    scraped_p95_s: float | None
    cores: tuple[float, ...]
    unready: int
