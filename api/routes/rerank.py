"""The compatible endpoints: every dialect, answered synchronously over the same queue."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Body, Request, Response
from pydantic import BaseModel, Discriminator, Tag

from api import examples
from api.awaited import Awaited
from api.dialects import BY_PATH, AnyDialect, signed
from api.front import Front
from api.later import Later
from api.pools import Pool
from api.problems import Refusal
from api.routes.jobs import Caller, Parts
from api.submission import JOIN_S, Submitted
from rerankq.schema import JobRequest

router = APIRouter(tags=["rerank"], responses=examples.REFUSALS)

SUBMITTED_AT_ONCE = 16  # of the jobs of one request

_DESCRIPTION = """{forms}

Waits for the ranking: that, or 429 or 503 with `Retry-After`. Equal requests of one key within
seconds wait for one job. It is cancelled when the last of them has been gone for two seconds."""


async def answer(
    dialect: AnyDialect, request: Any, http: Request, front: Front, caller: str
) -> Response:
    """Submit what the request asks for; the response waits, and says it in the request's own form.

    Raises: Refusal: as for a job.
    """
    http.scope["dialect"] = dialect
    seconds = front.settings.sync_timeout
    jobs = dialect.jobs(request)
    pool = front.pools.of_model(jobs[0].model)
    pool.submission.check_count(sum(len(job.documents) for job in jobs), dialect.sign)
    try:
        submitted = await _submit(pool, jobs, caller, expires_in=seconds + JOIN_S + 1)
    except Refusal as refusal:
        raise refusal.with_names(request.names) from None
    awaited = Awaited(
        pool=pool,
        submitted=submitted,
        seconds=seconds,
        answering=dialect.answering(request),
        uncut=dialect.uncut(request),
        max_tokens_per_doc=jobs[0].max_tokens_per_doc,
        names=request.names,
    )
    return Later(http, awaited.response)


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
