"""The worker's metrics, by the names dashboards rely on. Seconds and bytes throughout."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

disable_created_metrics()  # a second series for each counter, which nobody reads

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WAITS = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 7200)
_POWERS = tuple(2**n for n in range(17))

PAIRS = Counter(
    "rerankq_pairs_scored_total",
    "Query-document pairs scored, equal ones of a batch each, none from the score cache.",
)
TOKENS = Counter(
    "rerankq_tokens_total",
    "Tokens by kind: scored (equal pairs once), computed as padding, or saved by a shared prefix.",
    ["kind"],
)
BATCH_PAIRS = Histogram("rerankq_batch_pairs", "Different pairs of a batch.", buckets=_POWERS[:12])
BATCH_TOKENS = Histogram("rerankq_batch_tokens", "Tokens computed for a batch.", buckets=_POWERS)
BATCH_JOBS = Histogram(
    "rerankq_batch_jobs", "Jobs that share a batch.", buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32, 64)
)
FORWARD = Histogram("rerankq_forward_seconds", "Time of a batch on the device.", buckets=_SECONDS)
QUEUE_WAIT = Histogram(
    "rerankq_queue_wait_seconds", "From acceptance to the device.", buckets=_WAITS
)
TOKENIZE = Histogram("rerankq_tokenize_seconds", "Tokenizing one shard.", buckets=_SECONDS)
CACHE_HITS = Counter("rerankq_cache_hits_total", "Pairs answered from the score cache.")
OOM_SPLITS = Counter("rerankq_oom_splits_total", "Batches halved because memory ran out.")
TOKEN_BUDGET = Gauge("rerankq_token_budget", "Tokens a batch may have, as memory allows it.")
GPU_MEMORY = Gauge(
    "rerankq_gpu_memory_bytes",
    "Device memory: total, free, and of torch reserved and allocated.",
    ["kind"],
)
BUSY = Gauge("rerankq_busy_ratio", "Share of the last seconds in which the device worked.")
READY = Gauge("rerankq_worker_ready", "1 while work is taken, as /readyz says; else 0.")
MODEL_INFO = Gauge(
    "rerankq_model_info", "Always 1.", ["model", "revision", "dtype", "device", "layout"]
)


class Redeliveries(Collector):
    """Counted in the ledger, because every process gives lapsed leases back for all of them."""

    def __init__(self) -> None:
        self.latest: int | None = None  # not 0, from which the ledger's number would be a storm

    def collect(self) -> Iterable[CounterMetricFamily]:
        family = CounterMetricFamily(
            "rerankq_redeliveries",
            "Lapsed leases ever given back, by anyone; equal on every worker.",
        )
        if self.latest is not None:
            family.add_metric([], self.latest)
        yield family


REDELIVERIES = Redeliveries()
REGISTRY.register(REDELIVERIES)
