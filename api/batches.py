"""From a request for a batch to one in the ledger."""

from __future__ import annotations

import hashlib

from api.batch_files import BatchFiles
from api.batch_places import Places, Source
from api.files import FileStore
from api.pools import Pool
from api.problems import Refusal
from rerankq.bulk.api import ENDPOINTS, BatchRequest
from rerankq.bulk.spec import BatchSpec
from rerankq.fields import MAX_EXPIRES_IN
from rerankq.ledger import batches
from rerankq.ledger.batch_record import BatchRecord
from rerankq.ledger.batches import new_batch_id
from rerankq.ledger.calls import Committed
from rerankq.settings import Settings

RETRY_FULL_S = 60
LOOKED_AT = 100  # batches of the caller, in search of parts to take over
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}
_TREC = ("corpus", "queries")  # what is read beside a run


class BatchMaker:
    """Makes batches of what callers ask for."""

    def __init__(self, settings: Settings, files: FileStore) -> None:
        self._settings = settings
        self._places = Places(settings, files)
        self.files = BatchFiles(settings, files)

    async def create(
        self, pool: Pool, request: BatchRequest, *, owner: str, idempotency_key: str | None
    ) -> str:
        """The id of the batch, which is durable; with a known key that of the one before.

        Raises:
            Refusal: 403 a URL not allowed, 409 output in use, 422 wrong field or missing input,
                429 backlog or memory, 501 no storage, 503 the storage does not answer.
        """
        within_s = _within_s(request)
        _check(request)
        pool.submission.check_memory()
        pool.submission.check_instruction(request.instruction, await pool.fleet.ready())
        batch_id, kept = new_batch_id(pool.tag), request.output_expires_after
        spec = await self._spec(pool, request, batch_id, owner)
        reserved = await self.files.reserve(
            batch_id,
            spec,
            owner=owner,
            as_files=request.output_uri is None,
            within_s=within_s,
            kept_s=kept.seconds if kept else None,
        )
        stopped, before = await _stopped(pool, request, owner), spec
        if stopped is not None:
            spec = await self.files.take_over(batch_id, spec, stopped)
        idempotency = _idempotency(request, owner, idempotency_key)
        made = await self._enlist(pool, request, batch_id, spec, owner, within_s, idempotency)
        if made.outcome != "created":
            await self.files.forget(reserved)
            if stopped is not None:
                await self.files.give_back(stopped, spec, before)
        if made.outcome not in ("created", "existing"):
            raise _refused(made)
        return made.about

    async def _enlist(
        self,
        pool: Pool,
        request: BatchRequest,
        batch_id: str,
        spec: BatchSpec,
        owner: str,
        within_s: int,
        idempotency: tuple[str, str] | None,
    ) -> Committed:
        header = batches.header(
            spec,
            model=pool.model,
            owner=owner,
            result_ttl_ms=int(self._settings.result_ttl * 1000),
            metadata=request.metadata,
            about=_about(request),
        )
        call = batches.enlist(
            batch_id,
            header,
            output=spec.output,
            owner=owner,
            expires_in_ms=within_s * 1000,
            idempotency=idempotency,
        )
        return await pool.ledger.run(call)

    async def _spec(
        self, pool: Pool, request: BatchRequest, batch_id: str, owner: str
    ) -> BatchSpec:
        source = await self._places.source(request, "input", owner)
        beside: list[Source] = []
        if request.input_format == "trec":
            beside = [await self._places.source(request, name, owner) for name in _TREC]
        corpus, queries = (each.url for each in beside) if beside else (None, None)
        outputs = self._places.outputs(request, batch_id)
        return BatchSpec(
            input=source.url,
            input_format=request.input_format,
            version=source.version,
            output=outputs.output,
            output_format=request.output_format or request.input_format,
            errors=outputs.errors,
            work=outputs.work,
            corpus=corpus,
            queries=queries,
            versions_beside=tuple(each.version for each in beside),
            models=pool.names if request.input_format == "openai" else (),
            partitioned=request.partitioned,
            instruction=request.instruction,
            top_k=request.top_k,
            depth=request.depth,
            raw_scores=request.raw_scores,
            return_documents=request.return_documents,
            max_errors=request.max_errors,
            **({"tag": request.tag} if request.tag else {}),
        )


def _check(request: BatchRequest) -> None:
    """What a field says of another. Raises: Refusal: 422."""
    if request.endpoint not in ENDPOINTS:
        known = ", ".join(ENDPOINTS)
        detail = f"endpoint: must be one of {known}"
        raise Refusal(422, "invalid_request", detail, field="endpoint", limit=known)
    if request.partitioned and request.output_uri is None:
        detail = "partitioned: needs output_uri, the folder of the parts"
        raise Refusal(422, "invalid_request", detail, field="partitioned")
    if request.input_format != "trec":
        for field in ("corpus_file_id", "corpus_uri", "queries_file_id", "queries_uri"):
            if getattr(request, field) is not None:
                detail = f"{field}: is for input_format trec"
                raise Refusal(422, "invalid_request", detail, field=field)
    read = (request.input_uri, request.corpus_uri, request.queries_uri)
    output = request.output_uri and request.output_uri.rstrip("/")
    if output in [uri.rstrip("/") for uri in read if uri is not None]:
        detail = "output_uri: must not be what is read"
        raise Refusal(422, "invalid_request", detail, field="output_uri")


def _within_s(request: BatchRequest) -> int:
    window = request.completion_window
    seconds = int(window[:-1]) * _SECONDS[window[-1]]
    if seconds > MAX_EXPIRES_IN:
        detail = "completion_window: at most 30 days"
        raise Refusal(422, "invalid_request", detail, field="completion_window", limit="30d")
    return seconds


def _refused(made: Committed) -> Refusal:
    if made.outcome == "conflict":
        detail = "Idempotency-Key: it was used for another body"
        return Refusal(422, "idempotency_conflict", detail, field="Idempotency-Key")
    if made.outcome == "output_taken":
        detail = "output_uri: another batch is still writing there; wait for its end"
        return Refusal(409, "output_taken", detail, field="output_uri")
    limit = batches.MOST_BATCHES
    detail = f"{made.about} batches are open; the limit is {limit}"
    return Refusal(429, "backlog_full", detail, limit=limit, retry_after=RETRY_FULL_S)


def _about(request: BatchRequest) -> dict[str, str]:
    """What the batch's own object repeats, and by what it is found."""
    kept = request.output_expires_after
    told = {
        "endpoint": request.endpoint,
        "completion_window": request.completion_window,
        "input_file_id": request.input_file_id,
        "input_uri": request.input_uri,
        "output_uri": request.output_uri,
        "order": _order(request),
        "output_kept_s": str(kept.seconds) if kept else None,
    }
    return {name: value for name, value in told.items() if value is not None}


async def _stopped(pool: Pool, request: BatchRequest, owner: str) -> BatchRecord | None:
    """The last batch that was asked for in the same words, if it came to nothing."""
    order = _order(request)
    for _, _, batch in await pool.ledger.newest_batches(owner, None, LOOKED_AT):
        if batch is not None and batch.about.get("order") == order:
            return batch if batch.final and batch.phase != "completed" else None
    return None


def _order(request: BatchRequest) -> str:
    told = request.model_dump_json(exclude_defaults=True, exclude={"metadata"})
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _idempotency(request: BatchRequest, owner: str, key: str | None) -> tuple[str, str] | None:
    if key is None:
        return None
    body = hashlib.sha256(request.model_dump_json(exclude_defaults=True).encode()).hexdigest()
    return hashlib.sha256(f"{owner}\0batch\0{key}".encode()).hexdigest(), body
