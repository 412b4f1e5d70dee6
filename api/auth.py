"""Who calls: API keys, held as digests, compared in constant time; each owns the jobs it made."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request

from api.problems import Refusal
from rerankq.errors import SettingsError

log = logging.getLogger(__name__)

NOBODY = ""  # the owner of every job while no keys are set
FRESH_S = 1.0  # how often the file is looked at

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_COMMENT = re.compile(r"(?:^|\s)#")  # elsewhere it may be a key's own
_CHARACTERS = "a key consists of printable ASCII characters, of no others"


@dataclass(frozen=True, slots=True)
class Key:
    """One key that may call.

    Attributes:
        owner: who a job made with it belongs to: its name, so that a key can be changed for
            another of the same name, or the start of its digest. Reveals nothing of the key.
    """

    digest: bytes
    owner: str


class Keys:
    """The keys that may call: those of the settings, and those of a file that may change.

    Args:
        listed: `KEY` or `NAME KEY`, where KEY may be `sha256:` and its digest in hex.
        file: such keys, one a line; `#` begins a comment. With a file there is always a key
            needed, even while it lists none.

    Raises: SettingsError: a key or the file cannot be read.
    """

    def __init__(self, listed: Iterable[str], file: str | None = None) -> None:
        self._listed = [_parse(text, "RERANKQ_API_KEYS=(hidden)") for text in listed]
        self._file = Path(file) if file else None
        self._from_file: list[Key] = []
        self._seen: tuple[int, int] | None = None
        self._looked_at = float("-inf")
        if self._file:
            self._read(self._file)

    def owner(self, authorization: str | None) -> str:
        """Whose the caller's jobs are.

        Raises:
            Refusal: 401, keys are needed and this is none of them.
        """
        if not self._listed and not self._file:
            return NOBODY
        self._refresh()
        scheme, _, given = (authorization or "").partition(" ")
        digest = _digest(given.strip())
        # Every one is compared, so that the time says nothing about which is close.
        owners = [
            key.owner
            for key in (*self._listed, *self._from_file)
            if hmac.compare_digest(digest, key.digest)
        ]
        if scheme.lower() != "bearer" or not owners:
            detail = "a valid API key is needed: Authorization: Bearer KEY"
            if not given.isascii():
                detail += f"; {_CHARACTERS}"
            raise Refusal(401, "unauthorized", detail, challenge="Bearer")
        return owners[0]

    def may_operate(self, owner: str, operators: Iterable[str]) -> bool:
        """Whether this caller is one of the operators, by the name of its key."""
        return owner == NOBODY or owner.removeprefix("name:") in operators

    def _refresh(self) -> None:
        if self._file and time.monotonic() - self._looked_at > FRESH_S:
            self._looked_at = time.monotonic()
            try:
                if self._seen != _state(self._file):
                    self._read(self._file)
                    log.info("API keys read", extra={"keys": len(self._from_file)})
            except (OSError, SettingsError) as error:
                # Half-written, or gone for a moment: whoever could call still can.
                log.error("API keys not read", extra={"reason": str(error)})

    def _read(self, file: Path) -> None:
        try:
            seen, text = _state(file), file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"RERANKQ_API_KEYS_FILE={str(file)!r}: {error}") from None
        lines = (_COMMENT.split(line, maxsplit=1)[0].strip() for line in text.splitlines())
        self._from_file = [
            _parse(line, f"RERANKQ_API_KEYS_FILE={str(file)!r}: line {number}")
            for number, line in enumerate(lines, 1)
            if line
        ]
        self._seen = seen


def _state(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_ino


def _parse(text: str, where: str) -> Key:
    """Raises: SettingsError, which never repeats the key."""
    *names, secret = text.split()
    if len(names) > 1 or (names and not _NAME.fullmatch(names[0])):
        raise SettingsError(f"{where}: must be KEY or NAME KEY, the name of letters, digits, ._-")
    if not (secret.isascii() and secret.isprintable()):
        # How another character is written in a header HTTP does not say, and clients differ.
        raise SettingsError(f"{where}: {_CHARACTERS}")
    hashed = _DIGEST.fullmatch(secret)
    digest = bytes.fromhex(hashed[1]) if hashed else _digest(secret)
    return Key(digest, f"name:{names[0]}" if names else digest.hex()[:16])


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def owner(request: Request) -> str:
    """Dependency of every route that touches jobs: as `KeyRequired` found it.

    Like all of them `async`, or the framework would send each request to a thread for it.
    """
    found: str = request.scope["owner"]
    return found
