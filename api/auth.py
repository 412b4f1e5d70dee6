"""Who calls: API keys, compared in constant time; each owns the jobs it made."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from fastapi import Request

from api.problems import Refusal

NOBODY = ""  # the owner of every job while no keys are set


class Keys:
    """The keys that may call, held as digests only."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def owner(self, authorization: str | None) -> str:
        """A short name for the key's holder that does not reveal the key.

        Raises:
            Refusal: 401, there are keys and this is none of them.
        """
        if not self._digests:
            return NOBODY
        scheme, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip())
        # Every digest is compared, so that the time says nothing about which one is close.
        matches = [hmac.compare_digest(given, known) for known in self._digests]
        if scheme.lower() != "bearer" or not any(matches):
            detail = "a valid API key is needed: Authorization: Bearer KEY"
            raise Refusal(401, "unauthorized", detail, challenge="Bearer")
        return given.hex()[:16]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def owner(request: Request) -> str:
    """Dependency of every route that touches jobs."""
    keys: Keys = request.app.state.front.keys
    return keys.owner(request.headers.get("Authorization"))
