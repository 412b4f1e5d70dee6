"""The compatible endpoints: every dialect, answered synchronously over the same queue."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, Discriminator, Tag

from api import examples
from api.dialects import BY_PATH, AnyDialect, signed
from api.dialects.base import Ranked
from api.front import Front
from api.joining import CallerGone
from api.pools import Pool
from api.problems import Refusal
from api.ranking import Forgotten, ranking
from api.routes.jobs import Caller, Parts
from api.submission import JOIN_S, Submitted
from rerankq.ledger.records import JobRecord
from rerankq.schema import JobRequest
from rerankq.status import JobStatus

router = APIRouter(tags=["rerank"], responses=examples.REFUSALS)

CLIENT_CLOSED = 499  # nobody reads it but the access log, where it is what others write, too
SUBMITTED_AT_ONCE = 16  # of the jobs of one request
INLINE_RESULTS = 5_000  # writing more of them would be felt by other requests

# A failed job's own code decides what the synchronous caller is told.
_CALLERS_FAULT = frozenset({"query_too_long", "instruction_too_long", "instruction_not_supported"})

_DESCRIPTION = """{forms}

Waits for the ranking: that, or 429 or 503 with `Retry-After`. Equal requests of one key within
seconds wait for one job. It is cancelled when the last of them has been gone for two seconds."""


async def answer(
    dialect: AnyDialect, request: Any, http: Request, front: Front, caller: str
) -> Response:
    """Submit what the request asks for, wait for it, and say it in the request's own form.

    Raises: Refusal: as for a job; 422 or 500 if it failed, 503 if it took too long.
    """
    http.scope["dialect"] = dialect
    seconds = front.settings.sync_timeout
    jobs = dialect.jobs(request)
    pool = front.pools.of_model(jobs[0].model)
    pool.submission.check_count(sum(len(job.documents) for job in jobs), dialect.sign)
    submitted = await _submit(pool, jobs, caller, expires_in=seconds + JOIN_S + 1)
    try:
        done = await pool.joined.until_final(submitted, seconds, http)
    except CallerGone:
        return Response(status_code=CLIENT_CLOSED)
    succeeded = [job for job in done if job and job.status is JobStatus.SUCCEEDED]
    if len(succeeded) < len(done):
        raise await _failed(pool, submitted, done, seconds)
    _check_uncut(dialect.uncut(request), succeeded)
    ranked = [await _ranked(pool, job) for job in succeeded]
    count = sum(len(each.results) for each in ranked)
    args = (dialect, request, ranked)
    body = _said(*args) if count <= INLINE_RESULTS else await asyncio.to_thread(_said, *args)
    return Response(body, media_type="application/json")


def _said(dialect: AnyDialect, request: Any, ranked: list[Ranked]) -> str:
    return dialect.answer(request, ranked).model_dump_json()


async def _submit(
    pool: Pool, jobs: list[JobRequest], caller: str, expires_in: float
) -> list[Submitted]:
    """All of them or none.

    Raises: Refusal.
    """
    submitted: list[Submitted] = []
    for first in range(0, len(jobs), SUBMITTED_AT_ONCE):
        wave = (
            pool.submission.submit(
                job.model_copy(update={"expires_in": expires_in}), owner=caller, join=True
            )
            for job in jobs[first : first + SUBMITTED_AT_ONCE]
        )
        outcomes = await asyncio.gather(*wave, return_exceptions=True)
        submitted += [one for one in outcomes if isinstance(one, Submitted)]
        errors = [one for one in outcomes if isinstance(one, BaseException)]
        if errors:
            await pool.joined.give_up(submitted)
            raise errors[0]
    return submitted


async def _failed(
    pool: Pool, submitted: list[Submitted], jobs: list[JobRecord | None], seconds: float
) -> Refusal:
    # Nobody will come back for what is left, so it must not take a worker's time.
    await pool.joined.give_up(submitted)
    for job in jobs:
        if job is not None and job.status is JobStatus.FAILED and job.error is not None:
            status = 422 if job.error.code in _CALLERS_FAULT else 500
            error = job.error
            return Refusal(status, error.code, error.detail, field=error.field, limit=error.limit)
    workers = len(await pool.fleet.ready())
    detail = f"no ranking within {seconds:g} s ({workers} workers ready); use POST /v1/jobs to wait"
    return Refusal(503, "timed_out", detail, limit=seconds, retry_after=1)


def _check_uncut(field: str | None, jobs: list[JobRecord]) -> None:
    """Raises: Refusal: 422, a document was cut and the request's `field` forbids it."""
    cut = sum(job.truncated for job in jobs)
    if field is not None and cut:
        detail = f"{field}: {cut} of the documents do not fit the model unless they are cut"
        raise Refusal(422, "document_too_long", detail, field=field)


async def _ranked(pool: Pool, job: JobRecord) -> Ranked:
    """Raises: Refusal: 503, its time ended before it was read."""
    try:
        results = await ranking(pool.ledger, job)
    except Forgotten:
        detail = "the ranking was kept for too short a time to be read; try again"
        raise Refusal(503, "forgotten", detail, retry_after=1) from None
    return Ranked(
        id=job.id,
        model=job.model,
        created=job.created // 1000,
        tokens=job.tokens,
        truncated=job.truncated,
        results=results,
    )


def _add(path: str, dialects: list[AnyDialect]) -> None:
    """A route for the dialects of one path, told apart by what is in the body."""
    by_request = {dialect.request: dialect for dialect in dialects}

    async def rerank(request: BaseModel, http: Request, caller: Caller, parts: Parts) -> Response:
        return await answer(by_request[type(request)], request, http, parts, caller)

    shown = Body(openapi_examples={d.name: {"value": d.example[0]} for d in dialects})
    rerank.__annotations__["request"] = Annotated[_one_of(dialects), shown]
    router.add_api_route(
        path,
        rerank,
        methods=["POST"],
        name=f"rerank{path.replace('/', '_')}",
        description=_DESCRIPTION.format(forms=" ".join(d.summary for d in dialects)),
        response_model=_any_of([dialect.answered for dialect in dialects]),
        responses=_responses(dialects),
    )


def _one_of(dialects: list[AnyDialect]) -> Any:
    """The type of their bodies."""
    if len(dialects) == 1:
        return dialects[0].request

    def sign(body: object) -> str:
        return f"({(signed(dialects, body) or dialects[0]).sign})"

    forms = [Annotated[dialect.request, Tag(f"({dialect.sign})")] for dialect in dialects]
    return Annotated[_any_of(forms), Discriminator(sign)]


def _any_of(types: list[Any]) -> Any:
    union = types[0]
    for each in types[1:]:
        union |= each
    return union


def _responses(dialects: list[AnyDialect]) -> dict[int | str, dict[str, Any]]:
    own = {status for dialect in dialects for status in dialect.statuses.values()}
    ranked = examples.as_json("The ranking.", dialects[0].example[1])
    return examples.OF_A_BODY | examples.refusals(*sorted(own)) | {200: ranked}


for _path, _dialects in BY_PATH.items():
    _add(_path, _dialects)
