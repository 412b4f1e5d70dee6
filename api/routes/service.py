"""What operators and load balancers ask: queue, models, health, metrics."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError

import rerankq
from api import examples, metrics
from api.fleet import total_rate
from api.front import Front
from api.problems import REDIS_RETRY_S, problem, response
from api.routes.jobs import Caller, Parts
from rerankq.ledger.async_store import LaneCounts
from rerankq.ledger.records import WorkerInfo
from rerankq.schema import LaneView, ModelList, QueueView, ServedModel
from rerankq.status import Lane

router = APIRouter(tags=["service"])


@router.get("/v1/queue", response_model=QueueView, responses=examples.QUEUE)
async def queue(parts: Parts, _: Caller) -> QueueView:
    """How much waits and is in flight, by lane, in ledger entries (shards)."""
    lanes = await _lanes(parts)
    workers = await parts.fleet.ready()
    return QueueView(
        lanes={lane: lane_view(counts) for lane, counts in lanes.items()},
        backlog=_backlog(lanes),
        backlog_tokens=_tokens(lanes),
        drain_s=_drain_s(lanes, workers),
        workers=len(workers),
    )


@router.get("/v1/models", response_model=ModelList, responses=examples.MODELS)
async def models(parts: Parts, _: Caller) -> ModelList:
    """The served models; what only a live worker knows is null while there is none."""
    groups: defaultdict[tuple[str, str], list[WorkerInfo]] = defaultdict(list)
    for worker in await parts.fleet.ready():
        groups[worker.model, worker.revision].append(worker)
    served = [_served(group) for _, group in sorted(groups.items())]
    return ModelList(data=served or [ServedModel(id=parts.settings.model)])


@router.get("/livez", response_class=PlainTextResponse, responses=examples.TEXT_OK)
async def livez() -> Response:
    """This process answers."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz", response_class=PlainTextResponse, responses=examples.READY)
async def readyz(parts: Parts) -> Response:
    """Jobs can be taken: Redis answers."""
    try:
        await parts.ledger.ping()
    except RedisError:
        body = problem(503, "queue_unavailable", "Redis does not answer")
        return response(body, {"Retry-After": str(REDIS_RETRY_S)})
    return Response("ok\n", media_type="text/plain")


@router.get("/health", responses=examples.HEALTH)
async def health(parts: Parts) -> dict[str, Any]:
    """A summary for people; always 200, the truth is in the body."""
    try:
        await parts.ledger.ping()  # what is known of the workers may be a second old
        workers = await parts.fleet.ready()
    except RedisError:
        return {"status": "down", "redis": False, "version": rerankq.__version__}
    return {
        "status": "ok" if workers else "no workers",
        "redis": True,
        "model": parts.settings.model,
        "model_loaded": bool(workers),
        "gpu_available": any(worker.device.startswith("cuda") for worker in workers),
        "workers": len(workers),
        "version": rerankq.__version__,
    }


@router.get("/metrics", response_class=PlainTextResponse, responses=examples.METRICS)
async def scrape(parts: Parts) -> Response:
    """Prometheus. What is read from the ledger is missing, or NaN, while Redis is away."""
    try:
        await _read_ledger(parts)
    except RedisError:
        metrics.forget_ledger()
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@router.get("/", responses=examples.ROOT)
async def root() -> dict[str, Any]:
    """What this is and where to go."""
    return {
        "name": "rerankq",
        "version": rerankq.__version__,
        "endpoints": {
            "submit": "POST /v1/jobs",
            "read": "GET /v1/jobs/{id}?wait=30",
            "rerank": "POST /v1/rerank",
            "queue": "GET /v1/queue",
            "models": "GET /v1/models",
            "health": "GET /health",
            "docs": "GET /docs",
        },
    }


async def _lanes(parts: Front) -> dict[str, LaneCounts]:
    return {lane: await parts.ledger.lane(lane) for lane in Lane}


def _backlog(lanes: dict[str, LaneCounts]) -> int:
    return sum(counts.waiting + counts.in_flight for counts in lanes.values())


def _tokens(lanes: dict[str, LaneCounts]) -> int:
    return sum(counts.tokens for counts in lanes.values())


def _drain_s(lanes: dict[str, LaneCounts], workers: list[WorkerInfo]) -> float | None:
    """None while there is a backlog and no worker has measured its rate."""
    rate = total_rate(workers)
    return 0.0 if _backlog(lanes) == 0 else _tokens(lanes) / rate if rate else None


def lane_view(counts: LaneCounts) -> LaneView:
    oldest = None if counts.oldest_ms is None else counts.oldest_ms / 1000
    return LaneView(
        waiting=counts.waiting, in_flight=counts.in_flight, oldest_s=oldest, paused=counts.paused
    )


def _served(group: list[WorkerInfo]) -> ServedModel:
    info = group[0].model_dump(include=set(ServedModel.model_fields) - {"id"})
    return ServedModel(**info, id=group[0].model, workers=len(group))


async def _read_ledger(parts: Front) -> None:
    lanes = await _lanes(parts)
    for lane, counts in lanes.items():
        metrics.QUEUE_WAITING.labels(lane).set(counts.waiting)
        metrics.QUEUE_IN_FLIGHT.labels(lane).set(counts.in_flight)
        metrics.QUEUE_OLDEST.labels(lane).set((counts.oldest_ms or 0) / 1000)
    workers = await parts.fleet.ready()
    drain_s = _drain_s(lanes, workers)
    metrics.BACKLOG_TOKENS.set(_tokens(lanes))
    metrics.DRAIN_SECONDS.set(math.nan if drain_s is None else drain_s)
    metrics.WORKERS.set(len(workers))
    metrics.REDIS_MEMORY.set(parts.submission.redis_memory)
    metrics.JOBS.latest = await parts.ledger.counts()
    metrics.FAILURES.latest = await parts.ledger.failures()
