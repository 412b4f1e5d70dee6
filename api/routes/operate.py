"""What operators do: pause, resume and purge a lane, see the workers, drain one."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api import examples
from api.backlog import lane_view
from api.pools import Pool
from api.problems import Refusal
from api.routes.jobs import Caller, Parts
from rerankq.ledger import verbs
from rerankq.status import Lane
from rerankq.views import LaneView, PurgeView, WorkerList, WorkerView


async def _operator(caller: Caller, parts: Parts) -> None:
    if not parts.keys.may_operate(caller, parts.settings.operators):
        detail = "this key is not among RERANKQ_OPERATORS"
        raise Refusal(403, "operator_required", detail, field="Authorization")


router = APIRouter(
    prefix="/v1",
    tags=["operate"],
    dependencies=[Depends(_operator)],
    responses=examples.OPERATORS_REFUSALS,
)


async def _pool(
    parts: Parts,
    model: Annotated[str | None, Query(description="Whose lane; else the default's.")] = None,
) -> Pool:
    return parts.pools.of_model(model)


OfModel = Annotated[Pool, Depends(_pool)]


@router.post("/lanes/{lane}/pause", responses=examples.LANE)
async def pause(lane: Lane, pool: OfModel) -> LaneView:
    """Nothing more of the lane is taken; what is in flight ends, what comes waits."""
    return await _set_paused(pool, lane, True)


@router.post("/lanes/{lane}/resume", responses=examples.LANE)
async def resume(lane: Lane, pool: OfModel) -> LaneView:
    """The lane is taken from again."""
    return await _set_paused(pool, lane, False)


@router.post("/lanes/{lane}/purge", responses=examples.PURGED)
async def purge(
    lane: Lane,
    pool: OfModel,
    confirm: Annotated[str, Query(description="The lane's name once more.")] = "",
) -> PurgeView:
    """Cancel every open job of the lane, whoever made it; later ones stay."""
    if confirm != lane:
        counts = await pool.ledger.lane(lane)
        shards = counts.waiting + counts.in_flight
        detail = f"confirm: say {lane} once more to cancel all jobs of its {shards} open shards"
        raise Refusal(422, "confirmation_required", detail, field="confirm", limit=lane)
    before_ms, cancelled, more = await pool.ledger.now_ms() + 1, 0, True
    while more:
        purged = await pool.ledger.run(verbs.purge(lane, before_ms))
        cancelled, more = cancelled + purged.cancelled, purged.more
    return PurgeView(lane=lane, cancelled=cancelled)


@router.get("/workers", responses=examples.WORKERS)
async def workers(parts: Parts) -> WorkerList:
    """Every worker that was heard of in the last ten seconds."""
    alive = [worker for pool in parts.pools.all for worker in await pool.ledger.workers()]
    return WorkerList(data=[WorkerView(**worker.model_dump()) for worker in alive])


@router.post("/workers/{worker_id}/drain", status_code=202, responses=examples.DRAINING)
async def drain(worker_id: str, parts: Parts) -> WorkerView:
    """As a SIGTERM would: it ends its batch, hands the rest back and exits 0."""
    for pool in parts.pools.all:
        for worker in await pool.ledger.workers():
            if worker.id == worker_id:
                await pool.ledger.ask_to_drain(worker_id)
                return WorkerView(**worker.model_dump())
    shown = worker_id[:80].encode(errors="replace").decode()
    detail = f"no worker {shown!r} was heard of in the last 10 s; GET /v1/workers lists them"
    raise Refusal(404, "not_found", detail, field="worker_id")


async def _set_paused(pool: Pool, lane: Lane, paused: bool) -> LaneView:
    await pool.ledger.run(verbs.pause(lane, paused=paused))
    return lane_view([await pool.ledger.lane(lane)])
