"""Reading compose files as Compose does: variables filled in, one file laid over another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<bare>\w+)|\{(?P<name>\w+)(?:(?P<rule>:[-?])(?P<word>[^}]*))?\})"
)


class Unset(Exception):
    """A variable that must be given is not; the message is the file's own."""


def load(path: Path) -> dict[str, Any]:
    """As written: no variable is filled in, merge keys and anchors are."""
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def filled_in(value: Any, given: Mapping[str, str]) -> Any:
    """Every string below with its variables' values. Raises: Unset."""
    if isinstance(value, dict):
        return {key: filled_in(item, given) for key, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item, given) for item in value]
    return VARIABLE.sub(lambda m: _value(m, given), value) if isinstance(value, str) else value


def _value(match: re.Match[str], given: Mapping[str, str]) -> str:
    if match["dollar"]:
        return "$"
    name = match["name"] or match["bare"]
    if value := given.get(name):
        return value
    if match["rule"] == ":?":
        raise Unset(f"{name}: {match['word']}")
    return match["word"] or ""


def laid_over(below: Any, above: Any) -> Any:
    """Mappings are joined, everything else is replaced: Compose joins some lists, too, which no
    file of ours asks of it."""
    if isinstance(below, dict) and isinstance(above, dict):
        joined = dict(below)
        for key, value in above.items():
            joined[key] = laid_over(below[key], value) if key in below else value
        return joined
    return above
