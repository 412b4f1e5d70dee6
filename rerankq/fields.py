"""The fields of requests: their types and their limits, each refused in words that name both."""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import Annotated, LiteralString
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field, JsonValue, Tag
from pydantic_core import PydanticCustomError

MAX_QUERY_BYTES = 64 * 1024
MAX_DOCUMENT_BYTES = 1024 * 1024
MAX_INSTRUCTION_BYTES = 16 * 1024
MAX_METADATA_BYTES = 16 * 1024
MOST_DOCUMENTS = 1_000_000  # that RERANKQ_MAX_DOCUMENTS may allow
most_documents: ContextVar[int] = ContextVar("most_documents", default=MOST_DOCUMENTS)
MAX_TASK_DOCUMENTS = 1_000  # a Celery message carries them; more belong into a job or a file
MAX_EXPIRES_IN = 30 * 24 * 3600


def wrong_field(field: str, message: LiteralString) -> PydanticCustomError:
    """An error of the whole body that says which field it is about, dotted."""
    return PydanticCustomError("wrong_field", message, {"field": field})


def check_size(text: str, limit: int, **where: str) -> str:
    """Of a text's UTF-8, in bytes.

    Args:
        where: `field`, for a check of the whole body, see `wrong_field`.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        message: LiteralString = "must be valid Unicode; it holds a lone surrogate"
        raise PydanticCustomError("not_unicode", message, dict(where)) from None
    if size > limit:
        raise PydanticCustomError(
            "too_large",
            "is {size} bytes; the limit is {limit} bytes",
            {"size": size, "limit": limit, **where},
        )
    return text


def at_most(limit: int) -> AfterValidator:
    """As `check_size`."""

    def check(text: str) -> str:
        return check_size(text, limit)

    return AfterValidator(check)


def only(why: str, *honoured: bool | int | str) -> AfterValidator:
    """For a field of which other values would be ignored in silence: they are refused instead."""
    shown = " or ".join(json.dumps(value) for value in honoured)

    def check(value: bool | int | str | None) -> bool | int | str | None:
        if value is not None and value not in honoured:
            context = {"expected": shown, "why": why}
            raise PydanticCustomError("unsupported", "can only be {expected}: {why}", context)
        return value

    return AfterValidator(check)


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL")
    if parts.username is not None or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be a plain URL, without credentials or blanks")
    _ = parts.port  # raises if it is none
    return text


NO_JSON: LiteralString = "must be JSON, without NaN, infinity or lone surrogates"


def json_size(value: object) -> int | None:
    """Bytes of it as JSON; None: it holds what no JSON answer can carry."""
    # Encoding is the check: it meets NaN and lone surrogates.
    try:
        return len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode())
    except (ValueError, RecursionError):
        return None


def _json_metadata(metadata: dict[str, JsonValue] | None) -> dict[str, JsonValue] | None:
    size = json_size(metadata)
    if size is None:
        raise ValueError(NO_JSON)
    if size > MAX_METADATA_BYTES:
        raise PydanticCustomError(
            "metadata_too_large",
            "is {size} bytes as JSON; the limit is {limit} bytes",
            {"size": size, "limit": MAX_METADATA_BYTES},
        )
    return metadata


# What JSON Schema can say of it.
_SHOWN_NOT_BLANK = Field(json_schema_extra={"pattern": r"\S"})

Query = Annotated[str, AfterValidator(_not_blank), _SHOWN_NOT_BLANK, at_most(MAX_QUERY_BYTES)]
Instruction = Annotated[
    str, AfterValidator(_not_blank), _SHOWN_NOT_BLANK, at_most(MAX_INSTRUCTION_BYTES)
]
DocumentText = Annotated[str, at_most(MAX_DOCUMENT_BYTES)]
# The tag stands in brackets because it shows up in an error's location, from where `api.problems`
# drops it.
TextForm = Annotated[DocumentText, Tag("(text)")]
ModelName = Annotated[str, at_most(512)]
WebhookUrl = Annotated[str, AfterValidator(_web_address), at_most(2048)]
Metadata = Annotated[dict[str, JsonValue] | None, AfterValidator(_json_metadata)]


def document_form(value: object) -> str:
    """The tag of a text or an object: told apart by JSON type, each is refused by its own field."""
    return "(text)" if not isinstance(value, dict | BaseModel) else "(object)"


def countable(documents: object) -> object:
    # Before any of them is looked at: a body can hold millions.
    limit = most_documents.get()
    if isinstance(documents, list) and len(documents) > limit:
        raise PydanticCustomError(
            "too_large",
            "{count} given; the limit is {limit} a job",
            {"count": len(documents), "limit": limit},
        )
    return documents
