"""The front's metrics, by the names dashboards rely on.

What describes a whole ledger (queue, jobs) is the same on every replica: aggregate it with `max`,
never with `sum`. A further model's series say so by the label `model`; the default one's have none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.registry import Collector

from api import replica
from rerankq.ledger.batches import LOST
from rerankq.status import JobStatus, Lane

Labels = tuple[str, ...]

# Codes of failures that are not their caller's, of jobs and of batches; alerts name them too.
OUR_FAULT = (
    *("out_of_memory", "scoring_failed", "unreadable", "worker_lost"),
    *("internal", "storage_failed"),
)

disable_created_metrics()  # a second series for each counter, which nobody reads

SHOWN = replica.registry()
_TURN = replica.Turn()

HTTP_REQUESTS = Counter(
    "rerankq_http_requests_total", "HTTP requests answered.", ["method", "route", "status"]
)
HTTP_SECONDS = Histogram(
    "rerankq_http_request_duration_seconds",
    "Time to answer, long polls included.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120),
)
HTTP_IN_PROGRESS = Gauge(
    "rerankq_http_requests_in_progress",
    "HTTP requests being answered.",
    multiprocess_mode="livesum",
)
_JOB_SECONDS = Histogram(
    "rerankq_job_duration_seconds",
    "From acceptance to the final status.",
    ["lane"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 43200),
)


def job_ended(lane: str, seconds: float) -> None:
    """Every process hears of each job; one of a replica counts it."""
    if _TURN.is_mine():
        _JOB_SECONDS.labels(lane).observe(seconds)


class LedgerMetric(Collector):
    """What a ledger says at each scrape, so that no restart of ours loses a count.

    Args:
        known: label values shown from zero on. The first of a series that was not there before
            increases nothing.
    """

    def __init__(
        self, name: str, kind: str, text: str, labels: Labels = (), known: Iterable[Labels] = ()
    ) -> None:
        self._name, self._kind, self._text, self._labelnames = name, kind, text, labels
        self._zeros: dict[Labels, float] = dict.fromkeys(known, 0)
        self._latest: dict[str | None, Mapping[Labels, float]] = {}
        SHOWN.register(self)

    def show(self, model: str | None, values: Mapping[Any, float]) -> None:
        """By label values, from now on, for this further model (None: the default)."""
        self._latest[model] = {**self._zeros, **values}

    def forget(self) -> None:
        self._latest.clear()

    def collect(self) -> Iterable[Metric]:
        metric = Metric(self._name, self._text, self._kind)
        series = self._name + ("_total" if self._kind == "counter" else "")
        for model, values in self._latest.items():
            of_model = {} if model is None else {"model": model}
            for label_values, value in values.items():
                labels = dict(zip(self._labelnames, label_values, strict=True)) | of_model
                metric.add_sample(series, labels, value)
        yield metric


QUEUE_WAITING = LedgerMetric(
    "rerankq_queue_waiting", "gauge", "Entries no worker has taken.", ("lane",)
)
QUEUE_IN_FLIGHT = LedgerMetric(
    "rerankq_queue_in_flight", "gauge", "Entries a worker holds.", ("lane",)
)
QUEUE_OLDEST = LedgerMetric(
    "rerankq_queue_oldest_seconds",
    "gauge",
    "Age of the oldest open entry while any waits, else 0.",
    ("lane",),
)
BACKLOG_TOKENS = LedgerMetric(
    "rerankq_backlog_tokens", "gauge", "Estimated tokens of all open entries."
)
DRAIN_SECONDS = LedgerMetric(
    "rerankq_drain_seconds",
    "gauge",
    "Time the ready workers need for the backlog; NaN while none has measured its rate.",
)
WORKERS = LedgerMetric(
    "rerankq_workers", "gauge", "Ready workers that were heard of in the last ten seconds."
)
REDIS_MEMORY = LedgerMetric(
    "rerankq_redis_memory_ratio", "gauge", "Used memory of Redis's maxmemory; 0 where none is set."
)
JOBS = LedgerMetric(
    "rerankq_jobs",
    "counter",
    "Jobs that ever reached a status.",
    ("status", "lane"),
    ((status, lane) for status in JobStatus for lane in Lane),
)
FAILURES = LedgerMetric(
    "rerankq_job_failures",
    "counter",
    "Failed jobs and batches by the code of their error.",
    ("code",),
    ((code,) for code in OUR_FAULT),
)
LOST_LINES = LedgerMetric(
    "rerankq_batch_lines_lost",
    "counter",
    "Lines of batches that by our fault have no score, by their code.",
    ("code",),
    ((code,) for code in LOST),
)
OF_QUEUES = (QUEUE_WAITING, QUEUE_IN_FLIGHT, QUEUE_OLDEST, BACKLOG_TOKENS, DRAIN_SECONDS, WORKERS)


def forget_ledger() -> None:
    """Redis is away: show nothing rather than what was true once."""
    for metric in (*OF_QUEUES, REDIS_MEMORY, JOBS, FAILURES, LOST_LINES):
        metric.forget()
