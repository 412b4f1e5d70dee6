"""From a request for a batch to one in the ledger: where its input is, where its output goes."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from api.files import FileStore, stored, unavailable
from api.pools import Pool
from api.problems import Refusal
from rerankq.bulk import storage
from rerankq.bulk.api import ENDPOINTS, BatchRequest
from rerankq.bulk.spec import BatchSpec, OutputFormat
from rerankq.fields import MAX_EXPIRES_IN
from rerankq.ledger import batches
from rerankq.ledger.batches import BatchRecord, new_batch_id
from rerankq.ledger.files import FileRecord, file_id_of
from rerankq.ledger.keys import CHUNKS_OPEN, MERGE_MS
from rerankq.settings import Settings

RETRY_FULL_S = 60
SUFFIXES: dict[OutputFormat, str] = {
    "jsonl": "jsonl",
    "rank_llm": "jsonl",
    "msmarco": "tsv",
    "trec": "txt",
    "parquet": "parquet",
    "openai": "jsonl",
}
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes that a batch reads, and the field of the request that names them."""

    field: str
    url: str


class BatchMaker:
    """Makes batches of what callers ask for."""

    def __init__(self, settings: Settings, files: FileStore) -> None:
        self._settings = settings
        self._files = files

    async def create(
        self, pool: Pool, request: BatchRequest, *, owner: str, idempotency_key: str | None
    ) -> str:
        """The id of the batch, which is durable; with a known key that of the one before.

        Raises:
            Refusal: 403 a URL not allowed, 422 wrong field or missing input, 429 backlog or
                memory, 501 no storage, 503 the storage does not answer.
        """
        window_s = _window_s(request)
        _check(request)
        pool.submission.check_memory()
        pool.submission.check_instruction(request.instruction, await pool.fleet.ready())
        batch_id = new_batch_id(pool.tag)
        spec = await self._spec(pool, request, batch_id, owner)
        reserved = await self._reserve(request, batch_id, spec, owner, window_s)
        made = await pool.ledger.run(
            batches.enlist(
                batch_id,
                batches.header(
                    spec,
                    model=pool.model,
                    owner=owner,
                    result_ttl_ms=int(self._settings.result_ttl * 1000),
                    metadata=request.metadata,
                    about=_about(request),
                ),
                owner=owner,
                expires_in_ms=window_s * 1000,
                idempotency=_idempotency(request, owner, idempotency_key),
            )
        )
        if made.outcome != "created":
            for record in reserved:
                await self._files.records.forget(record)
        if made.outcome == "conflict":
            detail = "Idempotency-Key: it was used for another body"
            raise Refusal(422, "idempotency_conflict", detail, field="Idempotency-Key")
        if made.outcome == "full":
            limit = batches.MOST_BATCHES * CHUNKS_OPEN
            detail = f"{made.job_id} chunks of batches are open; the limit is {limit}"
            raise Refusal(429, "backlog_full", detail, limit=limit, retry_after=RETRY_FULL_S)
        return made.job_id

    async def files(self, batch: BatchRecord) -> tuple[str | None, str | None]:
        """Ids of a final batch's output and bad lines, which can be read by them from now on."""
        if not batch.final or "output_uri" in batch.about:
            return None, None
        wanted = [
            file_id_of(batch.id, what)
            for what, written in (("output", batch.output), ("errors", batch.errors))
            if written
        ]
        for record in await self._files.records.known(*wanted) if wanted else []:
            if record is not None and record.size is None:
                await self._publish(batch, record)
        ids = iter(wanted)
        return next(ids) if batch.output else None, next(ids) if batch.errors else None

    async def _publish(self, batch: BatchRecord, record: FileRecord) -> None:
        try:
            size = (await stored(storage.stat, record.url)).size
        except FileNotFoundError:
            return
        seconds = batch.about.get("output_kept_s")
        finished = batch.finished or batch.created
        expires = finished + self._files.kept_ms(int(seconds) if seconds else None)
        await self._files.records.put(
            FileRecord(
                id=record.id,
                owner=record.owner,
                filename=record.filename,
                purpose=record.purpose,
                url=record.url,
                created=finished,
                expires=expires,
                size=size,
            )
        )

    async def _reserve(
        self, request: BatchRequest, batch_id: str, spec: BatchSpec, owner: str, window_s: int
    ) -> list[FileRecord]:
        """Put down what the batch will write: so it goes in time, even if nobody asks for it."""
        if request.output_uri is not None:
            return []
        kept = request.output_expires_after
        now = await self._files.records.now_ms()
        longest = window_s * 1000 + MERGE_MS + self._files.kept_ms(kept.seconds if kept else None)
        records = self._files.of_batch(
            batch_id, owner, (spec.output, spec.errors), now=now, expires=now + longest
        )
        await self._files.records.put(*records)
        return records

    async def _spec(
        self, pool: Pool, request: BatchRequest, batch_id: str, owner: str
    ) -> BatchSpec:
        source = await self._source(request, "input", owner)
        version = await _version(source)
        further = [
            await self._source(request, name, owner)
            for name in ("corpus", "queries")
            if request.input_format == "trec"
        ]
        for each in further:
            await _version(each)
        corpus, queries = further or (None, None)
        output_format = request.output_format or request.input_format
        output, errors, work = self._outputs(request, batch_id, output_format)
        return BatchSpec(
            input=source.url,
            input_format=request.input_format,
            version=version,
            output=output,
            output_format=output_format,
            errors=errors,
            work=work,
            corpus=corpus.url if corpus else None,
            queries=queries.url if queries else None,
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

    async def _source(self, request: BatchRequest, name: str, owner: str) -> Source:
        by_id, by_uri = f"{name}_file_id", f"{name}_uri"
        file_id, uri = getattr(request, by_id), getattr(request, by_uri)
        if (file_id is None) == (uri is None):
            detail = f"{by_id}: give this or {by_uri}, and only one of them"
            raise Refusal(422, "invalid_request", detail, field=by_id)
        if uri is not None:
            return Source(by_uri, self._allowed(uri, by_uri))
        _ = self._files.url
        record = await self._files.records.get(file_id, owner)
        if record is None:
            detail = f"{by_id}: you have no file {file_id!r}"
            raise Refusal(422, "input_missing", detail, field=by_id)
        if record.purpose not in ("batch", "batch_output"):
            detail = f"{by_id}: its purpose must be batch, not {record.purpose}"
            raise Refusal(422, "invalid_request", detail, field=by_id)
        return Source(by_id, record.url)

    def _outputs(
        self, request: BatchRequest, batch_id: str, form: OutputFormat
    ) -> tuple[str, str, str]:
        """Where the output, the bad lines and the parts go."""
        output = request.output_uri
        if output is None:
            folder = storage.join(self._files.url, f"batches/{batch_id}")
            written = storage.join(folder, f"output.{SUFFIXES[form]}")
            return written, storage.join(folder, "errors.jsonl"), storage.join(folder, "work")
        output = self._allowed(output, "output_uri")
        if self._settings.storage_url is None:
            work = f"{output}.parts"
        else:
            work = storage.join(self._settings.storage_url, f"batches/{batch_id}/work")
        return output, f"{output}.errors.jsonl", work

    def _allowed(self, uri: str, field: str) -> str:
        if not storage.allowed(uri, self._settings.storage_allow):
            detail = f"{field}: lies under none of the prefixes of RERANKQ_STORAGE_ALLOW"
            raise Refusal(403, "uri_not_allowed", detail, field=field)
        return uri.rstrip("/")


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
    if request.output_uri is not None and request.output_uri in read:
        detail = "output_uri: must not be what is read"
        raise Refusal(422, "invalid_request", detail, field="output_uri")


def _window_s(request: BatchRequest) -> int:
    window = request.completion_window
    seconds = int(window[:-1]) * _SECONDS[window[-1]]
    if seconds > MAX_EXPIRES_IN:
        detail = "completion_window: at most 30 days"
        raise Refusal(422, "invalid_request", detail, field="completion_window", limit="30d")
    return seconds


async def _version(source: Source) -> str:
    try:
        return (await asyncio.to_thread(storage.stat, source.url)).version
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        detail = f"{source.field}: there is no such file"
        raise Refusal(422, "input_missing", detail, field=source.field) from None
    except PermissionError:
        detail = f"{source.field}: this service may not read it"
        raise Refusal(422, "input_denied", detail, field=source.field) from None
    except OSError as error:
        raise unavailable(error) from error


def _about(request: BatchRequest) -> dict[str, str]:
    """What the batch's own object repeats."""
    kept = request.output_expires_after
    told = {
        "endpoint": request.endpoint,
        "completion_window": request.completion_window,
        "input_file_id": request.input_file_id,
        "input_uri": request.input_uri,
        "output_uri": request.output_uri,
        "output_kept_s": str(kept.seconds) if kept else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _idempotency(request: BatchRequest, owner: str, key: str | None) -> tuple[str, str] | None:
    if key is None:
        return None
    body = hashlib.sha256(request.model_dump_json(exclude_defaults=True).encode()).hexdigest()
    return hashlib.sha256(f"{owner}\0batch\0{key}".encode()).hexdigest(), body
