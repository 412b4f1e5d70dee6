"""The front's metrics, by the names dashboards rely on.

What describes the whole ledger (queue, jobs) is the same on every replica: aggregate it with
`max`, never with `sum`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

disable_created_metrics()  # a second series for each counter, which nobody reads

HTTP_REQUESTS = Counter(
    "rerankq_http_requests_total", "HTTP requests answered.", ["method", "route", "status"]
)
HTTP_SECONDS = Histogram(
    "rerankq_http_request_duration_seconds",
    "Time to answer, long polls included.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120),
)
HTTP_IN_PROGRESS = Gauge("rerankq_http_requests_in_progress", "HTTP requests being answered.")
JOB_SECONDS = Histogram(
    "rerankq_job_duration_seconds",
    "From acceptance to the final status.",
    ["lane"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 43200),
)
QUEUE_WAITING = Gauge("rerankq_queue_waiting", "Entries no worker has taken.", ["lane"])
QUEUE_IN_FLIGHT = Gauge("rerankq_queue_in_flight", "Entries a worker holds.", ["lane"])
QUEUE_OLDEST = Gauge(
    "rerankq_queue_oldest_seconds",
    "Age of the oldest open entry while any waits, else 0.",
    ["lane"],
)
BACKLOG_TOKENS = Gauge("rerankq_backlog_tokens", "Estimated tokens of all open entries.")


class JobCounts(Collector):
    """`rerankq_jobs_total`, counted in the ledger itself so that no restart loses it."""

    def __init__(self) -> None:
        self.latest: dict[tuple[str, str], int] = {}

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(
            "rerankq_jobs", "Jobs that ever reached a status.", labels=["status", "lane"]
        )
        for (status, lane), count in self.latest.items():
            family.add_metric([status, lane], count)
        yield family


JOBS = JobCounts()
REGISTRY.register(JOBS)


def forget_ledger() -> None:
    """Redis is away: show nothing rather than what was true once."""
    for gauge in (QUEUE_WAITING, QUEUE_IN_FLIGHT, QUEUE_OLDEST):
        gauge.clear()
    BACKLOG_TOKENS.set(math.nan)
    JOBS.latest = {}
