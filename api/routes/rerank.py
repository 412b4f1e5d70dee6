"""/v1/rerank: the form most clients speak, answered synchronously over the same queue."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from api import examples
from api.joining import CallerGone
from api.pools import Pool
from api.problems import Refusal
from api.ranking import ranking
from api.routes.jobs import Caller, Parts
from api.submission import JOIN_S, Submitted
from rerankq.ledger.records import JobRecord
from rerankq.schema import (
    DocumentOut,
    JobRequest,
    RerankDocument,
    RerankRequest,
    RerankResponse,
    RerankUsage,
)
from rerankq.status import JobStatus

router = APIRouter(tags=["rerank"], responses=examples.REFUSALS)

CLIENT_CLOSED = 499  # nobody reads it but the access log, where it is what others write, too

# A failed job's own code decides what the synchronous caller is told.
_CALLERS_FAULT = frozenset({"query_too_long", "instruction_too_long", "instruction_not_supported"})


@router.post("/v1/rerank", response_model=RerankResponse, responses=examples.RERANKED)
async def rerank(
    request: Annotated[RerankRequest, examples.RERANK_REQUEST],
    http: Request,
    caller: Caller,
    parts: Parts,
) -> Response:
    """Rank the documents and wait for it: the ranking, or 429 or 503 with `Retry-After`.

    Equal requests of one key within seconds wait for one job. It is cancelled when the last of them
    has been gone for two seconds.
    """
    texts = [d.text if isinstance(d, RerankDocument) else d for d in request.documents]
    job = JobRequest(
        query=request.query,
        documents=list(texts),
        instruction=request.instruction,
        top_n=request.top_n or request.top_k,
        model=request.model,
        expires_in=parts.settings.sync_timeout + JOIN_S + 1,
    )
    pool = parts.pools.of_model(request.model)
    submitted = await pool.submission.submit(job, owner=caller, join=True)
    try:
        done = await pool.joined.until_final(submitted, parts.settings.sync_timeout, http)
    except CallerGone:
        return Response(status_code=CLIENT_CLOSED)
    if done is None or done.status is not JobStatus.SUCCEEDED:
        raise await _failed(pool, submitted, done, parts.settings.sync_timeout)
    answer = await _ranked(pool, done, texts if request.return_documents else None)
    return Response(answer.model_dump_json(), media_type="application/json")


async def _failed(
    pool: Pool, submitted: Submitted, job: JobRecord | None, seconds: float
) -> Refusal:
    if job is not None and job.status is JobStatus.FAILED and job.error is not None:
        status = 422 if job.error.code in _CALLERS_FAULT else 500
        error = job.error
        return Refusal(status, error.code, error.detail, field=error.field, limit=error.limit)
    # Nobody will come back for it, so it must not take a worker's time.
    await pool.joined.give_up(submitted)
    workers = len(await pool.fleet.ready())
    detail = f"no ranking within {seconds:g} s ({workers} workers ready); use POST /v1/jobs to wait"
    return Refusal(503, "timed_out", detail, limit=seconds, retry_after=1)


async def _ranked(pool: Pool, job: JobRecord, texts: list[str] | None) -> RerankResponse:
    results = await ranking(pool.ledger, job)
    if texts is not None:
        results = [
            result.model_copy(update={"document": DocumentOut(text=texts[result.index])})
            for result in results
        ]
    meta: dict[str, Any] = {
        "api_version": {"version": "1"},
        "billed_units": {"search_units": 1},
        "truncated": job.truncated,
    }
    return RerankResponse(
        id=job.id,
        model=job.model,
        results=results,
        data=results,
        usage=RerankUsage(prompt_tokens=job.tokens, total_tokens=job.tokens),
        meta=meta,
    )
