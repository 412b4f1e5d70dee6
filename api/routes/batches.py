"""/v1/batches: OpenAI's Batches over files or URLs, so that its clients drive a bulk rerank.

https://platform.openai.com/docs/api-reference/batch
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api import examples, examples_bulk
from api.batch_views import batch_view
from api.front import Front
from api.pools import Pool
from api.problems import Refusal
from api.routes.jobs import Caller, Parts
from rerankq.bulk.api import BatchList, BatchObject, BatchRequest
from rerankq.ledger import batches
from rerankq.ledger.batch_record import BatchRecord
from rerankq.status import JobStatus

router = APIRouter(prefix="/v1/batches", tags=["batches"], responses=examples.REFUSALS)

Position = tuple[int, str]  # created ms, id


@router.post("", response_model=BatchObject, responses=examples_bulk.BATCH_CREATED)
async def create(
    request: Annotated[BatchRequest, examples_bulk.BATCH_REQUEST],
    caller: Caller,
    parts: Parts,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> Response:
    """Rank all that a file holds. Durable once it is answered; poll it by its id."""
    pool = parts.pools.of_model(request.model)
    batch_id = await parts.batches.create(
        pool, request, owner=caller, idempotency_key=idempotency_key
    )
    _, batch = await _owned(parts, batch_id, caller)
    return await _answer(parts, batch)


@router.get("", response_model=BatchList, responses=examples_bulk.BATCH_LIST)
async def list_batches(
    caller: Caller,
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
) -> Response:
    """The caller's batches that are still kept, newest first."""
    position = await _position(parts, after, caller)
    found: list[BatchRecord] = []
    while len(found) <= limit:
        page = await _newest(parts, caller, position, limit + 1)
        found += [batch for _, _, batch in page if batch is not None]
        if len(page) <= limit:
            break
        position = page[-1][:2]
    data = [await _shown(parts, batch) for batch in found[:limit]]
    body = BatchList(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )
    return Response(body.model_dump_json(), media_type="application/json")


@router.get("/{batch_id}", response_model=BatchObject, responses=examples_bulk.BATCH)
async def read(batch_id: str, caller: Caller, parts: Parts) -> Response:
    """The batch; once it is final, with the ids of the files it wrote."""
    _, batch = await _owned(parts, batch_id, caller)
    return await _answer(parts, batch)


@router.post("/{batch_id}/cancel", response_model=BatchObject, responses=examples_bulk.BATCH)
async def cancel(batch_id: str, caller: Caller, parts: Parts) -> Response:
    """Stop the batch and write what is scored. Idempotent; a final one stays as it is."""
    pool, _ = await _owned(parts, batch_id, caller)
    await pool.ledger.run(batches.stop(batch_id, JobStatus.CANCELLED))
    _, batch = await _owned(parts, batch_id, caller)
    return await _answer(parts, batch)


def _unknown(batch_id: str, field: str = "batch_id") -> Refusal:
    shown = batch_id[:80].encode(errors="replace").decode()
    detail = f"no batch {shown!r}: it never was, it belongs to another key, or its time is over"
    return Refusal(404, "not_found", detail, field=field)


async def _owned(
    parts: Front, batch_id: str, caller: str, field: str = "batch_id"
) -> tuple[Pool, BatchRecord]:
    pool = parts.pools.of_batch(batch_id)
    batch = await pool.ledger.batch(batch_id) if pool else None
    if pool is None or batch is None or batch.owner != caller:
        raise _unknown(batch_id, field)
    return pool, batch


async def _position(parts: Front, after: str | None, caller: str) -> Position | None:
    if after is None:
        return None
    _, batch = await _owned(parts, after, caller, "after")
    return batch.created, batch.id


async def _newest(
    parts: Front, caller: str, before: Position | None, count: int
) -> list[tuple[int, str, BatchRecord | None]]:
    """Of all models together, newest first."""
    found = [
        row
        for pool in parts.pools.all
        for row in await pool.ledger.newest_batches(caller, before, count)
    ]
    return sorted(found, key=lambda row: row[:2], reverse=True)[:count]


async def _shown(parts: Front, batch: BatchRecord) -> BatchObject:
    return batch_view(batch, *await parts.batches.files.of(batch))


async def _answer(parts: Front, batch: BatchRecord) -> Response:
    body = await _shown(parts, batch)
    return Response(body.model_dump_json(), media_type="application/json")
