"""A form with one file in it, read as it comes: nothing of the file is held."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.problems import Refusal

MOST_PARTS = 32
MOST_VALUE_BYTES = 4096  # of a field that is no file
MOST_NAME = 255  # characters of a file's name
BLOCK_BYTES = 1 << 20  # written at once; each is a thread's hop
FILE_FIELD = "file"

Write = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Form:
    """What came beside the file, and what is known of it.

    Attributes:
        size: bytes of the file, all of them written.
    """

    fields: dict[str, str]
    filename: str
    size: int


async def receive(request: Request, write: Write) -> Form:
    """Read the body, and write its file block by block.

    Raises:
        Refusal: 400 the body is no form, 413 a field too long, 415 another type of body,
            422 no file in it, or two.
        starlette.requests.ClientDisconnect: the caller left.
    """
    parts = _Parts()
    parser = _parser(request, parts)
    size = 0
    async for data in request.stream():
        try:
            parser.write(data)
        except FormParserError as error:
            raise _invalid(str(error)) from None
        if len(parts.block) >= BLOCK_BYTES:
            size += len(parts.block)
            await write(parts.take())
    if not parts.ended:
        raise _invalid("it ends before its last boundary")
    if parts.files == 0:
        detail = f"{FILE_FIELD}: the form has no such part"
        raise Refusal(422, "invalid_request", detail, field=FILE_FIELD)
    size += len(parts.block)
    await write(parts.take())
    return Form(parts.fields, parts.filename, size)


def _parser(request: Request, parts: _Parts) -> MultipartParser:
    kind, options = parse_options_header(request.headers.get("Content-Type", ""))
    if kind != b"multipart/form-data":
        detail = "Content-Type: must be multipart/form-data"
        raise Refusal(415, "unsupported_media_type", detail, field="Content-Type")
    boundary = options.get(b"boundary")
    if not boundary:
        raise _invalid("Content-Type names no boundary")
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.header_name,
                "on_header_value": parts.header_value,
                "on_header_end": parts.header_end,
                "on_headers_finished": parts.headers_finished,
                "on_part_data": parts.data,
                "on_part_end": parts.end,
                "on_end": parts.end_all,
            },
        )
    except FormParserError as error:
        raise _invalid(str(error)) from None


def _invalid(reason: str) -> Refusal:
    return Refusal(400, "invalid_form", f"body: is no multipart form: {reason}", field="body")


@dataclass
class _Parts:
    """What the parser calls. `block` is what has come of the file since it was last taken."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str = ""
    files: int = 0
    ended: bool = False
    block: bytearray = field(default_factory=bytearray)
    _count: int = 0
    _name: str = ""
    _value: bytearray = field(default_factory=bytearray)
    _header: tuple[bytes, bytes] = (b"", b"")
    _disposition: bytes = b""

    def take(self) -> bytes:
        block, self.block = bytes(self.block), bytearray()
        return block

    def begin(self) -> None:
        self._count += 1
        if self._count > MOST_PARTS:
            detail = f"body: the form has more than {MOST_PARTS} parts"
            raise Refusal(413, "too_large", detail, field="body", limit=MOST_PARTS)
        self._name, self._value, self._disposition = "", bytearray(), b""

    def header_name(self, data: bytes, start: int, stop: int) -> None:
        self._header = (self._header[0] + data[start:stop], self._header[1])

    def header_value(self, data: bytes, start: int, stop: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:stop])

    def header_end(self) -> None:
        name, value = self._header
        self._header = (b"", b"")
        if name.lower() == b"content-disposition":
            self._disposition = value

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = _text(options.get(b"name", b""))
        if self._name != FILE_FIELD:
            return
        self.files += 1
        if self.files > 1:
            detail = f"{FILE_FIELD}: one file a request"
            raise Refusal(422, "invalid_request", detail, field=FILE_FIELD, limit=1)
        self.filename = _filename(_text(options.get(b"filename", b"")))

    def data(self, data: bytes, start: int, stop: int) -> None:
        if self._name == FILE_FIELD:
            self.block += data[start:stop]
            return
        self._value += data[start:stop]
        if len(self._value) > MOST_VALUE_BYTES:
            field_ = self._name[:80] or "body"
            detail = f"{field_}: is over the limit of {MOST_VALUE_BYTES} bytes"
            raise Refusal(413, "too_large", detail, field=field_, limit=MOST_VALUE_BYTES)

    def end(self) -> None:
        if self._name != FILE_FIELD:
            self.fields[self._name] = _text(bytes(self._value))

    def end_all(self) -> None:
        self.ended = True


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _filename(given: str) -> str:
    """The last segment, as browsers give it: some send a whole path of their machine."""
    name = given.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(letter for letter in name if letter.isprintable())[:MOST_NAME].strip()
    return name if name.strip(".") else "upload"
