"""/v1/jobs: submit, read, wait, list, cancel."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive

from api import examples
from api.auth import owner
from api.front import Front, front
from api.later import Later
from api.pools import Pool
from api.problems import Refusal
from api.ranking import Forgotten, ranking
from api.views import view
from rerankq.ledger import calls
from rerankq.ledger.records import JobRecord
from rerankq.schema import Job, JobList, JobRequest, Result
from rerankq.status import JobStatus

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=examples.REFUSALS)

LONGEST_WAIT_S = 60.0
NDJSON_SLICE = 1_000
SCAN_SLICE = 200  # headers read at once in search of a status
MOST_SCANNED = 2_000


class NdJson(StreamingResponse):
    media_type = "application/x-ndjson"


Caller = Annotated[str, Depends(owner)]
Parts = Annotated[Front, Depends(front)]
Wait = Annotated[
    float, Query(ge=0, le=LONGEST_WAIT_S, description="Seconds to wait for a final status.")
]


@router.post("", status_code=202, response_model=Job, responses=examples.SUBMITTED)
async def submit(
    request: Annotated[JobRequest, examples.JOB_REQUEST],
    http: Request,
    caller: Caller,
    parts: Parts,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
    prefer: Annotated[str | None, Header(description="`wait=N`: up to N s, at most 60.")] = None,
) -> Response:
    """Hand a job over. With 202 it is durable; poll `Location`, or wait there."""
    pool = parts.pools.of_model(request.model)
    submitted = await pool.submission.submit(request, owner=caller, idempotency_key=idempotency_key)
    return Later(http, partial(_submitted, pool, submitted.job_id, _preferred_wait(prefer)))


async def _submitted(pool: Pool, job_id: str, wait: float | None, _: Receive) -> Response:
    job = await pool.waiter.until_final(job_id, wait or 0)
    if job is None:
        raise _unknown(job_id)
    headers = {"Location": f"/v1/jobs/{job.id}"}
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait:g}"
    status = 200 if job.status.final and wait is not None else 202
    return _answer(await _shown(pool, job, partial=False), status, headers)


@router.get("/{job_id}", response_model=Job, responses=examples.JOB)
async def read(
    job_id: str,
    caller: Caller,
    parts: Parts,
    wait: Wait = 0,
    partial: Annotated[bool, Query(description="Show what is scored so far.")] = False,
) -> Response:
    """The job, at once or, with `wait`, once it is final."""
    pool, _ = await _owned(parts, job_id, caller)
    job = await pool.waiter.until_final(job_id, wait)
    if job is None:
        raise _unknown(job_id)
    return _answer(await _shown(pool, job, partial))


@router.get("/{job_id}/results", response_class=NdJson, responses=examples.NDJSON)
async def results(job_id: str, caller: Caller, parts: Parts) -> StreamingResponse:
    """The ranking of a finished job as NDJSON, best first."""
    pool, job = await _owned(parts, job_id, caller)
    if job.status is not JobStatus.SUCCEEDED:
        detail = f"job {job_id} is {job.status}; results exist once it has succeeded"
        raise Refusal(409, "not_succeeded", detail, field="job_id")
    lines = _lines(await _ranking(pool, job))
    return NdJson(lines)


@router.get("", response_model=JobList, responses=examples.JOB_LIST)
async def list_jobs(
    caller: Caller,
    parts: Parts,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,15}:job_[0-9a-f]{1,64}$")] = None,
) -> Response:
    """The caller's jobs that are still kept, newest first, without results."""
    position = last = _position(cursor)
    found: list[Job] = []
    size = SCAN_SLICE if status else limit + 1
    for _ in range(MOST_SCANNED // SCAN_SLICE):
        page = await _newest(parts, caller, position, size)
        for created, job_id, job in page:
            if job is not None and status in (None, job.status):
                if len(found) == limit:  # there is one more
                    return _answer(JobList(data=found, next_cursor=_cursor(last)))
                found.append(view(job))
                last = (created, job_id)
            position = (created, job_id)
        if len(page) < size:
            return _answer(JobList(data=found))
    # A rare status among very many jobs: the caller goes on from here.
    return _answer(JobList(data=found, next_cursor=_cursor(position)))


@router.delete("/{job_id}", response_model=Job, responses=examples.JOB)
async def cancel(job_id: str, caller: Caller, parts: Parts) -> Response:
    """Withdraw the job. Idempotent; a final job stays as it is."""
    pool, _ = await _owned(parts, job_id, caller)
    await pool.ledger.run(calls.finish(job_id, JobStatus.CANCELLED))
    _, job = await _owned(parts, job_id, caller)
    return _answer(await _shown(pool, job, partial=False))


@router.post("/{job_id}/retry", status_code=202, response_model=Job, responses=examples.RETRIED)
async def retry(job_id: str, caller: Caller, parts: Parts) -> Response:
    """Try what was not scored of a failed job once more, as a new job; a repetition names it."""
    pool, _ = await _owned(parts, job_id, caller)
    new_id = await pool.submission.retry(job_id)
    _, job = await _owned(parts, new_id, caller)
    return _answer(await _shown(pool, job, partial=False), 202, {"Location": f"/v1/jobs/{new_id}"})


def _preferred_wait(prefer: str | None) -> float | None:
    """Seconds of `Prefer: wait=N` (RFC 7240, 4.3); what it does not know is ignored, as it asks."""
    for preference in (prefer or "").split(","):
        match = re.match(r'\s*wait\s*=\s*"?([0-9]{1,6})"?\s*(;|$)', preference, re.IGNORECASE)
        if match:
            return min(float(match[1]), LONGEST_WAIT_S)
    return None


def _position(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    created, _, job_id = cursor.partition(":")
    return int(created), job_id


def _cursor(position: tuple[int, str] | None) -> str | None:
    return None if position is None else f"{position[0]}:{position[1]}"


def _unknown(job_id: str) -> Refusal:
    shown = job_id[:80].encode(errors="replace").decode()
    detail = f"no job {shown!r}: it never was, it belongs to another key, or its time is over"
    return Refusal(404, "not_found", detail, field="job_id")


async def _owned(parts: Front, job_id: str, caller: str) -> tuple[Pool, JobRecord]:
    pool = parts.pools.of_job(job_id)
    if pool is None:
        raise _unknown(job_id)  # other keys of the ledger begin alike
    job = await pool.ledger.job(job_id)
    if job is None or job.owner != caller:
        raise _unknown(job_id)
    return pool, job


async def _newest(
    parts: Front, caller: str, before: tuple[int, str] | None, count: int
) -> list[tuple[int, str, JobRecord | None]]:
    """Of all models together, newest first."""
    found = [
        row
        for pool in parts.pools.all
        for row in await pool.ledger.newest_jobs(caller, before, count)
    ]
    return sorted(found, key=lambda row: row[:2], reverse=True)[:count]


async def _shown(pool: Pool, job: JobRecord, partial: bool) -> Job:
    with_results = job.status is JobStatus.SUCCEEDED or (partial and not job.status.final)
    return view(job, await _ranking(pool, job) if with_results else None)


async def _ranking(pool: Pool, job: JobRecord) -> list[Result]:
    try:
        return await ranking(pool.ledger, job)
    except Forgotten:
        raise _unknown(job.id) from None


def _answer(
    body: Job | JobList, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(body.model_dump_json(), status, headers, "application/json")


async def _lines(ranked: list[Result]) -> AsyncIterator[str]:
    for start in range(0, len(ranked), NDJSON_SLICE):
        part = ranked[start : start + NDJSON_SLICE]
        # In ASCII: many a reader of lines takes U+2028 and its like for the end of one.
        yield "".join(result.model_dump_json(ensure_ascii=True) + "\n" for result in part)
