"""URLs and local paths as text: joined, shown without secrets, held against an allow-list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://|::)")
_LOCAL = ("file", "local")
# Globs are here because some file systems expand them where one name is meant.
_NEVER_ALLOWED = re.compile(r"::|[%?#\\*\[\]@]")
_USER = re.compile(r"(?<=://)[^/\s@]*@")
_QUERY = re.compile(r"\?[^\s'\")]+")


def scheme(url: str) -> str:
    """In lower case; empty for a path."""
    found = _SCHEME.match(url)
    return found[0].lower() if found else ""


def local_path(url: str) -> Path | None:
    """Of a path without a scheme, or with `file://`; None: another file system's."""
    found = scheme(url)
    if not found:
        return Path(url)
    return Path(url.split("://", 1)[1]) if found in _LOCAL and "::" not in url else None


def join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def name(url: str) -> str:
    """The last segment."""
    return url.rstrip("/").rsplit("/", 1)[-1]


def shown(url: str) -> str:
    """As messages and logs may have it: no user, no password, no signature."""
    return _without_secrets(url) if scheme(url) else url


def _without_secrets(text: str) -> str:
    return _QUERY.sub("", _USER.sub("", text))


def allowed(url: str, prefixes: Sequence[str]) -> bool:
    """Whether a URL that a stranger names lies under one of the operator's prefixes.

    Both are compared by whole segments, so `s3://bucket/a` does not allow `s3://bucket/ab`. Never
    allowed: local files, chains (`::`), `..`, percent signs, users, queries, globs, control
    characters. A web address needs a prefix that names its host.
    """
    parts = _segments(url)
    if parts is None:
        return False
    for prefix in prefixes:
        begins = _segments(prefix)
        if begins is None or (begins[0] in ("http", "https") and len(begins) == 1):
            continue
        if parts[: len(begins)] == begins:
            return True
    return False


def _segments(url: str) -> tuple[str, ...] | None:
    """Scheme, host or bucket, path; None: not a plain URL of another machine's."""
    found = scheme(url)
    if not found or found in _LOCAL or _NEVER_ALLOWED.search(url) or not url.isprintable():
        return None
    rest = url.split("://", 1)[1].removesuffix("/")
    parts = rest.split("/") if rest else []
    if any(not part.strip() or part in (".", "..") for part in parts):
        return None
    if parts and found in ("http", "https"):
        parts[0] = parts[0].lower()
    return (found, *parts)


@contextmanager
def failures(url: str) -> Iterator[None]:
    """Whatever goes wrong inside is an OSError that names the URL."""
    try:
        yield
    except Exception as error:
        raise _os_error(url, error) from error


_TOLD_APART = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_DENIED = ("NoCredentialsError", "PartialCredentialsError", "ClientAuthenticationError")


def _os_error(url: str, error: Exception) -> OSError:
    where = shown(url)
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return OSError(error.errno, _without_secrets(error.strerror), where)
    kind = next((kind for kind in _TOLD_APART if isinstance(error, kind)), OSError)
    if type(error).__name__ in _DENIED:
        kind = PermissionError
    unsaid = "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    said = _without_secrets(str(error)) or unsaid
    return kind(f"{where}: {said}")
