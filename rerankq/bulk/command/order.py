"""What the command asks for: every path absolute, every option checked, nothing begun."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from rerankq.bulk import formats, storage
from rerankq.bulk.spec import BatchSpec, InputFormat
from rerankq.bulk.unpacking import needs_unpacking
from rerankq.errors import UsageError
from rerankq.words import in_words

FORMATS = get_args(InputFormat)
_LINES_OF_JSON = ("rank_llm", "openai")


@dataclass(frozen=True, slots=True)
class Order:
    """
    Attributes:
        spec: as a worker would have it. `version` is empty where the input cannot be looked at
            from here; whoever starts the batch looks then.
        model: None: the default one.
        expires_in: seconds until the batch is given up.
        fingerprint: the same for the same command on the same input.
    """

    spec: BatchSpec
    model: str | None
    expires_in: float
    fingerprint: str

    @property
    def place(self) -> str:
        """Names the output in a batch's metadata, where a whole path may be too long."""
        return hashlib.sha256(self.spec.output.encode()).hexdigest()[:16]

    def inputs(self) -> dict[str, str]:
        """Each file that is read, by its name in a request (`input`, `corpus`, `queries`)."""
        spec = self.spec
        named = {"input": spec.input, "corpus": spec.corpus, "queries": spec.queries}
        return {name: url for name, url in named.items() if url is not None}


def make(
    source: str,
    output: str,
    *,
    input_format: str | None,
    output_format: str | None,
    corpus: str | None,
    queries: str | None,
    errors: str | None,
    model: str | None,
    expires_in: float,
    **options: Any,
) -> Order:
    """
    Args:
        options: further fields of `BatchSpec`; None: not given.

    Raises: UsageError.
    """
    source, output = absolute(source), absolute(output)
    read_as = input_format or _guessed(source, "--input-format")
    beside = _beside(read_as, corpus, queries)
    files = [source, *beside.values()]
    versions = [_version(url) for url in files]
    errors = absolute(errors or f"{output.rstrip('/')}.errors.jsonl")
    _check_outputs(files, output, errors)
    spec = _spec(
        input=source,
        input_format=read_as,
        version=versions[0],
        output=output,
        output_format=output_format or _written_as(output, read_as),
        errors=errors,
        work=f"{output.rstrip('/')}.parts",
        versions_beside=tuple(versions[1:]),
        **beside,
        **{name: value for name, value in options.items() if value is not None},
    )
    told = json.dumps([spec.model_dump(mode="json"), versions, model], sort_keys=True)
    return Order(spec, model, expires_in, hashlib.sha256(told.encode()).hexdigest()[:32])


def _beside(read_as: str, corpus: str | None, queries: str | None) -> dict[str, str]:
    """What a TREC run names its texts by. Raises: UsageError."""
    if (read_as == "trec") != (corpus is not None) or (corpus is None) != (queries is None):
        raise UsageError("--corpus and --queries belong to a TREC run, which needs both of them")
    if corpus is None or queries is None:
        return {}
    return {"corpus": absolute(corpus), "queries": absolute(queries)}


def _check_outputs(inputs: list[str], output: str, errors: str) -> None:
    """Raises: UsageError."""
    if output in inputs:
        raise UsageError(f"{storage.shown(output)}: is an input, and cannot be the output")
    if errors in (*inputs, output):
        raise UsageError(f"{storage.shown(errors)}: cannot be the file of bad lines, too")
    if needs_unpacking(output):
        raise UsageError(f"{storage.shown(output)}: outputs are written uncompressed")


def _spec(**fields: Any) -> BatchSpec:
    """Raises: UsageError."""
    try:
        return BatchSpec(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {in_words(first)}") from None


def check_writable(order: Order) -> None:
    """Raises: UsageError: the output or the errors cannot be written; told before any work is."""
    for url in (order.spec.output, order.spec.errors):
        path = storage.local_path(url)
        if path is None:
            continue
        if path.is_dir() and not (order.spec.partitioned and url == order.spec.output):
            raise UsageError(f"{path}: is a folder; name a file")
        if not path.parent.is_dir():
            raise UsageError(f"{path.parent}: there is no such folder to write to")
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise UsageError(f"{path.parent}: this folder cannot be written to")


def absolute(url: str) -> str:
    """A local path from the root on; a URL as it is."""
    path = storage.local_path(url)
    return url if path is None else str(Path(path).absolute())


def _version(url: str) -> str:
    local = storage.local_path(url) is not None
    try:
        return storage.stat(url).version
    except FileNotFoundError:
        raise UsageError(f"{storage.shown(url)}: there is no such file") from None
    except OSError as error:
        if local:
            raise UsageError(str(error)) from None
        return ""  # the service may reach what this machine does not


def _guessed(url: str, option: str) -> InputFormat:
    guess = formats.guess(url)
    if guess is None:
        raise UsageError(
            f"{storage.shown(url)}: its name does not say its format; "
            f"give {option} {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        )
    return guess


def _written_as(output: str, read_as: str) -> str:
    guess = formats.guess(output.rstrip("/"))
    # Lines of JSON are named alike whatever is in them: then it is what came in.
    if guess == "jsonl" and read_as in _LINES_OF_JSON:
        return read_as
    return guess or _guessed(output, "--output-format")
