"""Real prose of mixed length to rank: runs of words of the licence."""

from __future__ import annotations

import random
from pathlib import Path

WORDS = (Path(__file__).resolve().parent.parent / "LICENSE").read_text().split()
LONGEST_QUERY = 12  # words
LONGEST_DOCUMENT = 120


def query(rng: random.Random) -> str:
    return _run(rng, LONGEST_QUERY)


def documents(rng: random.Random, count: int) -> list[str]:
    """Of 5 to 120 words each."""
    return [_run(rng, LONGEST_DOCUMENT) for _ in range(count)]


def _run(rng: random.Random, longest: int) -> str:
    start = rng.randrange(len(WORDS) - longest)
    return " ".join(WORDS[start : start + rng.randint(5, longest)])
