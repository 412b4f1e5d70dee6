"""The front's metrics, by the names dashboards rely on.

What describes the whole ledger (queue, jobs) is the same on every replica: aggregate it with
`max`, never with `sum`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from rerankq.status import JobStatus, Lane

Labels = tuple[str, ...]

# Codes of failures that are not their caller's; alerts name them too.
OUR_FAULT = ("out_of_memory", "scoring_failed", "unreadable", "worker_lost")

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
DRAIN_SECONDS = Gauge(
    "rerankq_drain_seconds",
    "Time the ready workers need for the backlog; NaN while none has measured its rate.",
)
WORKERS = Gauge("rerankq_workers", "Ready workers that were heard of in the last ten seconds.")
REDIS_MEMORY = Gauge(
    "rerankq_redis_memory_ratio", "Used memory of Redis's maxmemory; 0 where none is set."
)


class LedgerCounts(Collector):
    """A counter kept in the ledger itself, so that no restart loses it.

    Args:
        known: label values shown from zero on. The first of a series that was not there before
            increases nothing.
    """

    def __init__(
        self, name: str, text: str, labels: Sequence[str], known: Iterable[Labels]
    ) -> None:
        self._name, self._text, self._labelnames = name, text, labels
        self._zeros = dict.fromkeys(known, 0)
        self.latest: dict[Labels, int] | None = None

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labelnames)
        if self.latest is not None:
            for values, count in (self._zeros | self.latest).items():
                family.add_metric(values, count)
        yield family


JOBS = LedgerCounts(
    "rerankq_jobs",
    "Jobs that ever reached a status.",
    ["status", "lane"],
    ((status, lane) for status in JobStatus for lane in Lane),
)
FAILURES = LedgerCounts(
    "rerankq_job_failures",
    "Failed jobs by the code of their error.",
    ["code"],
    ((code,) for code in OUR_FAULT),
)
REGISTRY.register(JOBS)
REGISTRY.register(FAILURES)


def forget_ledger() -> None:
    """Redis is away: show nothing rather than what was true once."""
    for gauge in (QUEUE_WAITING, QUEUE_IN_FLIGHT, QUEUE_OLDEST):
        gauge.clear()
    for single in (BACKLOG_TOKENS, DRAIN_SECONDS, WORKERS, REDIS_MEMORY):
        single.set(math.nan)
    JOBS.latest = FAILURES.latest = None
