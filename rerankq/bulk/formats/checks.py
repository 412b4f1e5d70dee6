"""What a record must be, whatever the format: types, texts, and the ids that an output needs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from rerankq.bulk.lines import LONGEST, MOST_BYTES, MOST_LINES
from rerankq.bulk.records import Bad, Record
from rerankq.bulk.spec import BatchSpec

_DEEPEST = 100
_RUNS = ("trec", "msmarco")  # outputs that name queries and documents by ids, in columns
_NEED_QUERY_IDS = (*_RUNS, "rank_llm")


class Wrong(ValueError):
    """A line that cannot be scored; becomes a `Bad`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail

    def bad(self, line: int, query_id: str | None = None) -> Bad:
        return Bad(line, self.code, self.detail, query_id)


def wrong(detail: str) -> Wrong:
    return Wrong("invalid_record", detail)


def too_long(line: int) -> Bad:
    return Bad(line, "line_too_long", f"the line is longer than {LONGEST} bytes")


def too_large(line: int, query_id: str) -> Bad:
    detail = f"the query has more than {MOST_LINES} candidates, or {MOST_BYTES} bytes of them"
    return Bad(line, "record_too_large", detail, query_id)


def decoded(text: bytes) -> str:
    """
    Raises: Wrong: it is not UTF-8.
    """
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise Wrong("invalid_utf8", f"byte {error.start} of the line is not UTF-8") from None


def json_object(text: bytes) -> dict[str, Any]:
    """
    Raises: Wrong.
    """
    try:
        told = json.loads(decoded(text), parse_constant=_no_number, parse_float=_finite)
    except Wrong:
        raise
    except json.JSONDecodeError as error:
        raise Wrong("invalid_json", f"{error.msg} at character {error.pos + 1}") from None
    except (ValueError, RecursionError) as error:
        raise Wrong("invalid_json", str(error)) from None
    if not isinstance(told, dict):
        raise wrong("the line is not a JSON object")
    if _deeper(told, _DEEPEST):
        raise wrong(f"the line is nested deeper than {_DEEPEST} levels")
    return told


def _deeper(value: dict[str, Any], limit: int) -> bool:
    # Writing takes more of the stack than reading: what is read has to be writable.
    level: list[Any] = [value]
    for _ in range(limit):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [its for values in inner for its in values if isinstance(its, dict | list)]
        if not level:
            return False
    return True


def _no_number(name: str) -> NoReturn:
    raise Wrong("invalid_json", f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise Wrong("invalid_json", f"{digits[:40]} is too large for a number")
    return number


def text_of(value: object, field: str) -> str:
    """
    Raises: Wrong: not a string, or one that no file could hold.
    """
    if not isinstance(value, str):
        raise wrong(f"{field} must be a string, not {kind(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise wrong(f"{field} holds a lone surrogate") from None
    return value


def not_blank(value: object, field: str) -> str:
    text = text_of(value, field)
    if not text.strip():
        raise wrong(f"{field} must not be blank")
    return text


def id_of(value: object, field: str) -> str | None:
    """Ids may be whole numbers in the input; they are strings from here on. null: none given."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise wrong(f"{field} must be a string or a whole number, not {kind(value)}")
    return text_of(value, field)


def kind(value: object) -> str:
    """The value's type, in JSON's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = (
        (str, "a string"),
        (int | float, "a number"),
        (list, "an array"),
        (Mapping, "an object"),
    )
    return next((name for types, name in names if isinstance(value, types)), type(value).__name__)


def fit(spec: BatchSpec, record: Record) -> Record:
    """The record itself, if the output can name it and its documents.

    Raises: Wrong: an id is missing, or would break the output's columns.
    """
    if record.query_id is None and spec.output_format in _NEED_QUERY_IDS:
        raise Wrong("missing_id", f"the record has no id, which {spec.output_format} output needs")
    if spec.output_format in _RUNS:
        _one_column(record.query_id, "the record's id")
        for place, name in enumerate(record.ids or ()):
            _one_column(name, f"the id of documents[{place}]")
    return record


def fitted(spec: BatchSpec, record: Record) -> Record | Bad:
    """As `fit`, with the error as data."""
    try:
        return fit(spec, record)
    except Wrong as error:
        return error.bad(record.line, record.query_id)


def _one_column(name: str | None, field: str) -> None:
    # Columns are separated by ASCII's white space; other kinds are part of a name.
    if name is not None and name.encode().split() != [name.encode()]:
        raise Wrong("invalid_id", f"{field} is empty or holds white space: {name[:80]!r}")
