"""OpenAI's batch lines: a request in, a response out, each under its `custom_id`.

https://platform.openai.com/docs/api-reference/batch/request-input
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from rerankq.bulk.api import ENDPOINTS
from rerankq.bulk.formats.checks import Wrong, kind, text_of, wrong
from rerankq.bulk.formats.results import results
from rerankq.bulk.formats.text import JsonLines, LineWriter, json_line
from rerankq.bulk.records import Bad, Record, Scored
from rerankq.bulk.spec import BatchSpec
from rerankq.rerank_form import RerankRequest
from rerankq.schema import Problem
from rerankq.words import in_words

LONGEST_ID = 512  # characters of a custom_id
# Of what a line can be refused for; everything else is 422.
_STATUS = {"invalid_json": 400, "invalid_utf8": 400, "line_too_long": 413}
_TITLE = {400: "Bad Request", 413: "Content Too Large", 422: "Unprocessable Content"}


def _record(spec: BatchSpec, line: int, fields: dict[str, Any]) -> Record:
    """
    Raises: Wrong.
    """
    custom_id = text_of(fields.get("custom_id"), "custom_id")
    if not 0 < len(custom_id) <= LONGEST_ID:
        raise wrong(f"custom_id must have 1 to {LONGEST_ID} characters")
    if fields.get("method") != "POST":
        raise wrong("method must be POST")
    if fields.get("url") not in ENDPOINTS:
        raise wrong(f"url must be one of {', '.join(ENDPOINTS)}")
    request = _request(fields.get("body"))
    _refuse_options_of_one_request(request)
    if spec.models and request.model is not None and request.model not in spec.models:
        known = ", ".join(spec.models)
        raise Wrong("model_mismatch", f"body.model is none of this batch's: {known}")
    return Record(
        line=line,
        query=request.query,
        documents=request.texts[: spec.depth],
        query_id=custom_id,
        source=_own_options(request),
        instruction=request.task,
    )


def _request(body: object) -> RerankRequest:
    if not isinstance(body, Mapping):
        raise wrong(f"body must be an object, not {kind(body)}")
    try:
        return RerankRequest.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # Parts in brackets are the schema's own tags.
        parts = [str(part) for part in first["loc"] if not str(part).startswith("(")]
        parts += [first["ctx"]["field"]] if "field" in first.get("ctx", {}) else []
        field = ".".join(["body", *parts])[:300]
        raise wrong(f"{field}: {in_words(first)}") from None


def _refuse_options_of_one_request(request: RerankRequest) -> None:
    """What `/v1/rerank` honours and a line cannot have for itself.

    Raises: Wrong.
    """
    lacking = {
        "max_tokens_per_doc": bool(request.max_tokens_per_doc),
        "truncation": request.truncation is False,
    }
    for field, asked in lacking.items():
        if asked:
            raise wrong(f"body.{field}: a line of a batch cannot ask for this")


def _own_options(request: RerankRequest) -> dict[str, Any]:
    """What the line says itself, as a batch calls it; see `results.as_asked`."""
    own: dict[str, Any] = {}
    if request.top_n is not None or request.top_k is not None:
        own["top_k"] = request.best
    if request.return_documents is not None:
        own["return_documents"] = request.return_documents
    if request.raw_if_said is not None:
        own["raw_scores"] = request.raw_if_said
    return own


def _custom_id(fields: Mapping[str, Any]) -> str | None:
    """As far as it can be read."""
    given = fields.get("custom_id")
    return given[:LONGEST_ID] if isinstance(given, str) else None


def _lines(spec: BatchSpec, scored: Scored) -> Iterator[str]:
    name = _name(scored.record)
    yield json_line(
        {
            "id": f"batch_req_{name}",
            "custom_id": scored.record.query_id,
            "response": {
                "status_code": 200,
                "request_id": f"req_{name}",
                "body": _answer(spec, scored, name),
            },
            "error": None,
        }
    )


def _answer(spec: BatchSpec, scored: Scored, name: str) -> dict[str, Any]:
    """As `RerankResponse` has it."""
    ranked = results(spec, scored)
    return {
        "id": f"rerank_{name}",
        "object": "rerank",
        "model": scored.model,
        "results": ranked,
        "data": ranked,
        "usage": {"prompt_tokens": scored.tokens, "total_tokens": scored.tokens},
        "meta": {
            "api_version": {"version": "1"},
            "billed_units": {"search_units": 1},
            "truncated": len(scored.truncated),
        },
    }


def _name(record: Record) -> str:
    """The same for the same line, whichever worker writes it."""
    digest = hashlib.sha256()
    for text in (record.query_id or "", record.query, record.instruction or "", *record.documents):
        data = text.encode()
        digest.update(len(data).to_bytes(8) + data)
    return digest.hexdigest()[:32]


def error_line(bad: Bad, line: int) -> dict[str, Any]:
    """A line of the errors file.

    Args:
        line: its number in the whole input, from 1.
    """
    status = _STATUS.get(bad.code, 422)
    told = f"{line}\0{bad.query_id}\0{bad.code}\0{bad.detail}"
    name = hashlib.sha256(told.encode(errors="replace")).hexdigest()[:32]
    message = f"line {line}: {bad.detail}"
    problem = Problem(title=_TITLE[status], status=status, code=bad.code, detail=message)
    return {
        "id": f"batch_req_{name}",
        "custom_id": bad.query_id,
        "response": {
            "status_code": status,
            "request_id": f"req_{name}",
            "body": problem.model_dump(),
        },
        "error": {"code": bad.code, "message": message},
    }


READER = JsonLines(_record, _custom_id)
WRITER = LineWriter(".jsonl", _lines)
