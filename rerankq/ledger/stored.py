"""A record that is a hash in Redis, as it is read back: of a job, a batch, a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rerankq.errors import LaterVersion
from rerankq.ledger.codec import VERSION
from rerankq.schema import Problem


class Stored(dict[str, str]):
    """The fields that are there, by name."""

    @classmethod
    def read(cls, kind: str, fields: Mapping[str, bytes | None]) -> Stored | None:
        """None if there is no such record.

        Args:
            kind: what it is, for who reads the error.
            fields: what was asked for; None where the record has no such field.

        Raises: LaterVersion.
        """
        stored = cls({key: value.decode() for key, value in fields.items() if value is not None})
        if not stored:
            return None
        if int(stored["version"]) > VERSION:
            raise LaterVersion(
                f"{kind} of version {stored['version']}; this one reads {VERSION}", b""
            )
        return stored

    def number(self, key: str) -> int | None:
        """None where it is absent or empty: the moment or the count is not there yet."""
        return int(self[key]) if self.get(key) else None

    @property
    def metadata(self) -> dict[str, Any] | None:
        """The caller's own, if there is any."""
        return json.loads(self["metadata"]) if self["metadata"] else None

    @property
    def error(self) -> Problem | None:
        """What it ended by, if it did not end well."""
        return Problem.model_validate_json(self["error"]) if "error" in self else None
