"""Loading the Lua scripts, with the key names of `keys.py` put in front."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from rerankq.ledger import keys
from rerankq.ledger.keys import Key, Part, name

NAMES = (
    *("commit", "take", "hold", "complete", "release", "finish", "reap", "claim", "ack"),
    *("retry", "pause", "purge", "leave"),
    *("enlist", "planned", "part", "merged", "stop"),
)

_NUMBERS = (
    "CHUNKS_OPEN",
    "MERGE_MS",
    "JOBS_KEPT",
    "REAPED_AT_ONCE",
    "SUSPECT_DEVICE_LOSSES",
    "SUSPECT_LOSSES",
    "TICK_STALE_MS",
    "WORKER_SEEN_MS",
    "WORKER_TTL_MS",
)


@cache
def source(script: str, root: str = keys.ROOT) -> str:
    """The whole text of a script for the ledger under `root`."""
    folder = files("rerankq.ledger") / "lua"
    common = (folder / "common.lua").read_text()
    return "\n".join([_prelude(root), common, (folder / f"{script}.lua").read_text()])


def _prelude(root: str) -> str:
    lines = [f"local {key.name} = {_quoted(name(key, root=root))}" for key in Key]
    lines += [f"local {part.name} = '{part}'" for part in Part]
    lines += [f"local {number} = {getattr(keys, number)}" for number in _NUMBERS]
    lines.append(f"local GIVEN_UP = {_quoted(keys.GIVEN_UP)}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """As Lua writes it; a model's name may be a path with anything in it."""
    return "'" + text.replace("\\", r"\\").replace("'", r"\'") + "'"
