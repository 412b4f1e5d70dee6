"""/v1/files: OpenAI's Files, so that its clients upload the input of a batch and fetch the output.

https://platform.openai.com/docs/api-reference/files
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from api import examples_bulk
from api.awaited import CLIENT_CLOSED
from api.forms import Form, receive
from api.problems import Refusal
from api.routes.jobs import Caller, Parts
from api.storing import writing
from rerankq.bulk.api import (
    LEAST_KEPT_S,
    MOST_KEPT_S,
    FileDeleted,
    FileList,
    FileObject,
    FilePurpose,
)
from rerankq.ledger.files import FileRecord, new_file_id

MOST_LISTED = 10_000


async def _configured(parts: Parts) -> None:
    _ = parts.files.url


router = APIRouter(
    prefix="/v1/files",
    tags=["files"],
    dependencies=[Depends(_configured)],
    responses=examples_bulk.FILES_REFUSALS,
)

_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(get_args(FilePurpose))},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {
                            "type": "integer",
                            "minimum": LEAST_KEPT_S,
                            "maximum": MOST_KEPT_S,
                        },
                    },
                },
                "examples": {"batch": {"value": {"file": examples_bulk.LINE, "purpose": "batch"}}},
            }
        },
    }
}


class Bytes(StreamingResponse):
    media_type = "application/octet-stream"


@router.post("", response_model=FileObject, responses=examples_bulk.UPLOADED, openapi_extra=_FORM)
async def upload(request: Request, caller: Caller, parts: Parts) -> Response:
    """Store a file, as it comes; at most 10 GiB. It belongs to the key that sent it."""
    files, file_id = parts.files, new_file_id()
    url = files.place(caller, file_id)
    try:
        async with writing(url) as write:
            form = await receive(request, write)
            purpose, kept = _purpose(form), _kept_s(form)
    except ClientDisconnect:
        return Response(status_code=CLIENT_CLOSED)
    now = await files.records.now_ms()
    record = FileRecord(
        id=file_id,
        owner=caller,
        filename=form.filename,
        purpose=purpose,
        url=url,
        created=now,
        expires=now + files.kept_ms(kept),
        size=form.size,
    )
    await files.records.put(record)
    return _answer(shown(record))


@router.get("", response_model=FileList, responses=examples_bulk.FILE_LIST)
async def list_files(
    caller: Caller,
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = MOST_LISTED,
    order: Literal["asc", "desc"] = "desc",
    after: Annotated[str | None, Query(description="The last id of the page before.")] = None,
    purpose: Annotated[str | None, Query(description="Only files of this purpose.")] = None,
) -> Response:
    """The caller's files, newest first."""
    records = await parts.files.records.page(
        caller, after=after, limit=limit + 1, newest_first=order == "desc", purpose=purpose
    )
    if records is None:
        detail = "after: there is no such file any more; begin anew without it"
        raise Refusal(404, "not_found", detail, field="after")
    data = [shown(record) for record in records[:limit]]
    return _answer(
        FileList(
            data=data,
            first_id=data[0].id if data else None,
            last_id=data[-1].id if data else None,
            has_more=len(records) > limit,
        )
    )


@router.get("/{file_id}", response_model=FileObject, responses=examples_bulk.FILE)
async def read(file_id: str, caller: Caller, parts: Parts) -> Response:
    """What is known of a file."""
    return _answer(shown(await parts.files.readable(file_id, caller)))


@router.get("/{file_id}/content", response_class=Bytes, responses=examples_bulk.FILE_CONTENT)
async def content(file_id: str, caller: Caller, parts: Parts) -> Bytes:
    """The bytes of a file."""
    record = await parts.files.readable(file_id, caller)
    size, blocks = await parts.files.content(record)
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(record.filename, safe='')}",
    }
    return Bytes(blocks, headers=headers)


@router.delete("/{file_id}", response_model=FileDeleted, responses=examples_bulk.FILE_DELETED)
async def delete(file_id: str, caller: Caller, parts: Parts) -> Response:
    """Remove a file and its bytes. A batch that still reads it fails."""
    await parts.files.remove(await parts.files.readable(file_id, caller))
    return _answer(FileDeleted(id=file_id))


def shown(record: FileRecord) -> FileObject:
    """A file's record as the public sees it."""
    return FileObject(
        id=record.id,
        bytes=record.size or 0,
        created_at=record.created // 1000,
        expires_at=record.expires // 1000,
        filename=record.filename,
        purpose=record.purpose,
    )


def _purpose(form: Form) -> str:
    purpose, known = form.fields.get("purpose", ""), get_args(FilePurpose)
    if purpose not in known:
        detail = f"purpose: must be one of {', '.join(known)}"
        raise Refusal(422, "invalid_request", detail, field="purpose", limit=", ".join(known))
    return purpose


def _kept_s(form: Form) -> int | None:
    """Seconds, as the form asks; None: it does not."""
    anchor = form.fields.get("expires_after[anchor]")
    seconds = form.fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        detail = "expires_after[anchor]: must be created_at"
        raise Refusal(422, "invalid_request", detail, field="expires_after[anchor]")
    given = int(seconds) if seconds and seconds.isascii() and seconds.isdigit() else 0
    if not LEAST_KEPT_S <= given <= MOST_KEPT_S:
        limit = f"{LEAST_KEPT_S} to {MOST_KEPT_S}"
        detail = f"expires_after[seconds]: must be {limit}"
        raise Refusal(422, "invalid_request", detail, field="expires_after[seconds]", limit=limit)
    return given


def _answer(body: FileObject | FileList | FileDeleted) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
