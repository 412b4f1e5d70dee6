"""What operators and load balancers ask: queue, models, health, metrics."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.exceptions import RedisError

import rerankq
from api import examples, metrics
from api.backlog import backlog, open_batches, queue_view
from api.dialects import DIALECTS
from api.front import Front
from api.pools import Pool
from api.problems import REDIS_RETRY_S, problem, response
from api.routes.jobs import Caller, Parts
from rerankq.ledger.records import WorkerInfo
from rerankq.schema import ModelList, QueueView, ServedModel

router = APIRouter(tags=["service"])


@router.get("/v1/queue", response_model=QueueView, responses=examples.QUEUE)
async def queue(
    parts: Parts,
    caller: Caller,
    model: Annotated[str | None, Query(description="Of this model; else of all together.")] = None,
) -> QueueView:
    """How much waits and is in flight, by lane, in ledger entries (shards, chunks)."""
    pools = parts.pools.all if model is None else [parts.pools.of_model(model)]
    batches = [batch for pool in pools for batch in await open_batches(pool, caller)]
    return queue_view([await backlog(pool) for pool in pools], batches)


@router.get("/v1/models", response_model=ModelList, responses=examples.MODELS)
async def models(parts: Parts, _: Caller) -> ModelList:
    """The served models; what only a live worker knows is null while there is none."""
    served = [each for pool in parts.pools.all for each in await _served_by(pool)]
    return ModelList(data=served)


@router.get("/livez", response_class=PlainTextResponse, responses=examples.TEXT_OK)
async def livez() -> Response:
    """This process answers."""
    return Response("ok\n", media_type="text/plain")


@router.get("/readyz", response_class=PlainTextResponse, responses=examples.READY)
async def readyz(parts: Parts) -> Response:
    """Jobs can be taken: Redis answers."""
    try:
        await parts.pools.default.ledger.ping()
    except RedisError:
        body = problem(503, "queue_unavailable", "Redis does not answer")
        return response(body, {"Retry-After": str(REDIS_RETRY_S)})
    return Response("ok\n", media_type="text/plain")


@router.get("/health", responses=examples.HEALTH)
async def health(parts: Parts) -> dict[str, Any]:
    """A summary for people; always 200, the truth is in the body."""
    try:
        await parts.pools.default.ledger.ping()  # what is known of the workers may be a second old
        workers = await parts.pools.ready()
        of_default = await parts.pools.default.fleet.ready()
    except RedisError:
        return {"status": "down", "redis": False, "version": rerankq.__version__}
    return {
        "status": "ok" if workers else "no workers",
        "redis": True,
        "model": parts.settings.model,
        "model_loaded": bool(of_default),
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
    return Response(generate_latest(metrics.SHOWN), media_type=CONTENT_TYPE_LATEST)


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
            **{dialect.name: f"POST {dialect.paths[0]}" for dialect in DIALECTS},
            "files": "POST /v1/files",
            "batches": "POST /v1/batches",
            "queue": "GET /v1/queue",
            "models": "GET /v1/models",
            "health": "GET /health",
            "docs": "GET /docs",
        },
    }


async def _served_by(pool: Pool) -> list[ServedModel]:
    groups: defaultdict[tuple[str, str], list[WorkerInfo]] = defaultdict(list)
    for worker in await pool.fleet.ready():
        groups[worker.model, worker.revision].append(worker)
    return [_served(group) for _, group in sorted(groups.items())] or [ServedModel(id=pool.model)]


def _served(group: list[WorkerInfo]) -> ServedModel:
    info = group[0].model_dump(include=set(ServedModel.model_fields) - {"id"})
    return ServedModel(**info, id=group[0].model, workers=len(group))


async def _read_ledger(parts: Front) -> None:
    for pool in parts.pools.all:
        waits, model = await backlog(pool), pool.further
        lanes = waits.sets.items()
        metrics.QUEUE_WAITING.show(model, {(lane,): counts.waiting for lane, counts in lanes})
        metrics.QUEUE_IN_FLIGHT.show(model, {(lane,): counts.in_flight for lane, counts in lanes})
        oldest = {(lane,): (counts.oldest_ms or 0) / 1000 for lane, counts in lanes}
        metrics.QUEUE_OLDEST.show(model, oldest)
        metrics.BACKLOG_TOKENS.show(model, {(): waits.tokens})
        drain_s = math.nan if waits.drain_s is None else waits.drain_s
        metrics.DRAIN_SECONDS.show(model, {(): drain_s})
        metrics.WORKERS.show(model, {(): len(waits.workers)})
        metrics.JOBS.show(model, await pool.ledger.counts())
        metrics.FAILURES.show(model, await pool.ledger.failures())
        metrics.LOST_LINES.show(model, await pool.ledger.lost_lines())
    metrics.REDIS_MEMORY.show(None, {(): parts.pools.default.submission.redis_memory})
