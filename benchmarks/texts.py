"""Real texts of any length in tokens: the descriptions of this machine's Debian packages.

Where there is no Debian, the licence. The same machine gives the same texts in every run, and no
network is needed; texts of two machines differ.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from benchmarks import prose

STATUS = Path("/var/lib/dpkg/status")
DESCRIPTION = re.compile(r"^Description: (.+)\n((?: .*\n)*)", re.MULTILINE)
LEAST_DESCRIPTIONS = 100
QUERY_TOKENS = 12

Job = tuple[str, list[str]]  # a query and its documents


@dataclass(frozen=True)
class Workload:
    """Jobs that are scored together, and what their lengths are called in a table."""

    name: str
    jobs: list[Job]

    @property
    def pairs(self) -> int:
        return sum(len(documents) for _, documents in self.jobs)


@cache
def paragraphs() -> tuple[str, ...]:
    """Each the synopsis and the description of one package, in the order of their names."""
    if STATUS.exists():
        found = DESCRIPTION.findall(STATUS.read_text(errors="replace"))
        whole = [
            " ".join(f"{head}. {body}".replace("\n .\n", "\n").split()) for head, body in found
        ]
        if len(whole) >= LEAST_DESCRIPTIONS:
            return tuple(dict.fromkeys(whole))
    return tuple(" ".join(prose.WORDS[i : i + 60]) for i in range(0, len(prose.WORDS), 60))


class Texts:
    """Draws texts whose length is given in tokens of one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, seed: int) -> None:
        self._tokenizer = tokenizer
        self._rng = random.Random(seed)

    def job(self, lengths: list[int]) -> Job:
        """A query of up to 12 tokens with a document of each length."""
        query = self._text(self._rng.randint(5, QUERY_TOKENS))
        return query, [self._text(length) for length in lengths]

    def lengths(self, least: int, most: int, count: int) -> list[int]:
        """Evenly spread from least to most, in random order: a mean that no luck moves."""
        step = (most - least) / max(1, count - 1)
        spread = [round(least + i * step) for i in range(count)]
        self._rng.shuffle(spread)
        return spread

    def _text(self, tokens: int) -> str:
        start = self._rng.randrange(len(paragraphs()))
        text, offsets = "", []
        while len(offsets) < tokens:
            text = f"{text} {paragraphs()[start % len(paragraphs())]}".strip()
            offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
            start += 1
        # Within a token of the wanted length: the cut may split a word that was one token.
        return text[: offsets[tokens - 1][1]].strip()


def mixed(texts: Texts, *, jobs: int, documents: int, least: int, most: int) -> Workload:
    """Documents of least to most tokens in random order."""
    drawn = [texts.job(texts.lengths(least, most, documents)) for _ in range(jobs)]
    return Workload(f"mixed, {least} to {most} tokens", drawn)


def fixed(texts: Texts, *, jobs: int, documents: int, tokens: int) -> Workload:
    """Documents of one length."""
    drawn = [texts.job([tokens] * documents) for _ in range(jobs)]
    return Workload(f"{tokens} tokens", drawn)
