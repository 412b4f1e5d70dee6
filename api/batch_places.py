"""Where a batch reads and writes: files of the caller, or URLs that the operator allows."""

from __future__ import annotations

from dataclasses import dataclass

from api.files import FileStore
from api.problems import Refusal
from api.storing import on_thread, unavailable
from rerankq.bulk import storage
from rerankq.bulk.api import BatchRequest
from rerankq.bulk.spec import OutputFormat
from rerankq.settings import Settings

SUFFIXES: dict[OutputFormat, str] = {
    "jsonl": "jsonl",
    "rank_llm": "jsonl",
    "msmarco": "tsv",
    "trec": "txt",
    "parquet": "parquet",
    "openai": "jsonl",
}
INPUTS = ("batch", "batch_output")  # purposes of files that a batch may read


@dataclass(frozen=True, slots=True)
class Source:
    """What a batch reads, as it is when the batch is made."""

    url: str
    version: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the output, the bad lines and the parts go."""

    output: str
    errors: str
    work: str


class Places:
    """Finds them for a request."""

    def __init__(self, settings: Settings, files: FileStore) -> None:
        self._settings = settings
        self._files = files

    async def source(self, request: BatchRequest, name: str, owner: str) -> Source:
        """
        Args:
            name: input, corpus or queries: of the pair of fields, one of which must be given.

        Raises:
            Refusal: 403 not allowed, 422 none or both given, or nothing there, 501 no storage,
                503 the storage does not answer.
        """
        by_id, by_uri = f"{name}_file_id", f"{name}_uri"
        file_id, uri = getattr(request, by_id), getattr(request, by_uri)
        if (file_id is None) == (uri is None):
            detail = f"{by_id}: give this or {by_uri}, and only one of them"
            raise Refusal(422, "invalid_request", detail, field=by_id)
        if uri is not None:
            return await _found(self._allowed(uri, by_uri), by_uri)
        return await _found(await self._uploaded(file_id, by_id, owner), by_id)

    def outputs(self, request: BatchRequest, batch_id: str) -> Outputs:
        """Raises: Refusal: 403 not allowed, 501 no storage."""
        if request.output_uri is None:
            folder = storage.join(self._files.url, f"batches/{batch_id}")
            suffix = SUFFIXES[request.output_format or request.input_format]
            names = (f"output.{suffix}", "errors.jsonl", "work")
            return Outputs(*(storage.join(folder, name) for name in names))
        output = self._allowed(request.output_uri, "output_uri")
        if self._settings.storage_url is None:
            work = f"{output}.parts"
        else:
            work = storage.join(self._settings.storage_url, f"batches/{batch_id}/work")
        return Outputs(output, f"{output}.errors.jsonl", work)

    async def _uploaded(self, file_id: str, field: str, owner: str) -> str:
        _ = self._files.url
        record = await self._files.records.get(file_id, owner)
        if record is None:
            raise Refusal(422, "input_missing", f"{field}: you have no such file", field=field)
        if record.purpose not in INPUTS:
            detail = f"{field}: its purpose must be batch, not {record.purpose}"
            raise Refusal(422, "invalid_request", detail, field=field)
        return record.url

    def _allowed(self, uri: str, field: str) -> str:
        if not storage.allowed(uri, self._settings.storage_allow):
            detail = f"{field}: lies under none of the prefixes of RERANKQ_STORAGE_ALLOW"
            raise Refusal(403, "uri_not_allowed", detail, field=field)
        return uri.rstrip("/")


async def _found(url: str, field: str) -> Source:
    try:
        return Source(url, (await on_thread(storage.stat, url)).version)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        detail = f"{field}: there is no such file"
        raise Refusal(422, "input_missing", detail, field=field) from None
    except PermissionError:
        detail = f"{field}: this service may not read it"
        raise Refusal(422, "input_denied", detail, field=field) from None
    except OSError as error:
        raise unavailable(error) from error
