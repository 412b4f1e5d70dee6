"""Compressed input. It cannot be cut by bytes, so it is unpacked once, and the rest reads that."""

from __future__ import annotations

import gzip
import zlib
from contextlib import closing
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from rerankq.bulk import storage
from rerankq.bulk.extras import extra
from rerankq.bulk.inputs import found_at, present
from rerankq.bulk.records import BadInput
from rerankq.bulk.spec import BatchSpec

_COMPRESSED = (".gz", ".zst")
_BLOCK = 4 << 20  # bytes


def needs_unpacking(url: str) -> bool:
    return url.lower().endswith(_COMPRESSED)


def plain_name(url: str) -> str:
    """The file's name without what says that it is compressed."""
    name = storage.name(url)
    return name[: name.rindex(".")] if needs_unpacking(name) else name


def unpacked(spec: BatchSpec) -> BatchSpec:
    """The same batch, reading what its compressed files hold; itself if it has none.

    Whoever calls it first unpacks, into the folder `work`; each file appears there whole or not at
    all, so that a killed call leaves nothing and a finished one is not repeated.

    Raises: BadInput: a file is missing, changed, truncated or damaged; OSError: try again.
    """
    changed: dict[str, str] = {}
    for field in ("input", "corpus", "queries"):
        url: str | None = getattr(spec, field)
        if url is None or not needs_unpacking(url):
            continue
        if field == "input":
            present(spec)
        changed[field] = storage.join(spec.work, field + PurePosixPath(plain_name(url)).suffix)
        if not storage.exists(changed[field]):
            _unpack(url, changed[field])
    if "input" in changed:
        changed["version"] = storage.stat(changed["input"]).version
    return spec.model_copy(update=changed)


class _AlreadyThere(Exception):
    pass


def _unpack(url: str, target: str) -> None:
    found_at(url)
    read = 0
    try:
        with (
            closing(storage.open_at(url, 0)) as packed,
            storage.writing(target) as plain,
            _stream(url, packed) as stream,
        ):
            while block := stream.read(_BLOCK):
                plain.write(block)
                read += len(block)
            if storage.exists(target):
                raise _AlreadyThere
    except _AlreadyThere:
        # Another worker was faster, and readers may rely on the version of its file.
        return
    except Exception as error:
        code = _damage(error)
        if code is None:
            raise
        what = "ends in the middle" if code == "input_truncated" else f"is damaged ({error})"
        detail = f"{storage.shown(url)} {what}; {read} bytes could be unpacked"
        raise BadInput(code, detail) from error


def _stream(url: str, packed: BinaryIO) -> Any:
    if url.lower().endswith(".gz"):
        return gzip.GzipFile(fileobj=packed)
    pyarrow = extra("pyarrow", "unpacking .zst")
    return pyarrow.CompressedInputStream(pyarrow.PythonFile(packed, mode="r"), "zstd")


def _damage(error: Exception) -> str | None:
    """The code of what is wrong with the file; None: it was not the file."""
    if isinstance(error, EOFError):
        return "input_truncated"
    if isinstance(error, gzip.BadGzipFile | zlib.error):
        return "input_damaged"
    # pyarrow has no types for these.
    if isinstance(error, OSError) and "Truncated compressed stream" in str(error):
        return "input_truncated"
    if isinstance(error, OSError) and "ZSTD" in str(error):
        return "input_damaged"
    return None
