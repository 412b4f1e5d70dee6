"""What each client is asked, and what it must make of the answers.

Standard library only: it runs in the environments of the clients.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

# Names that code written for the real services has in it; the system under test answers to them.
COHERE, JINA, VOYAGE, HUB = (
    "rerank-v3.5",
    "jina-reranker-v2-base-multilingual",
    "rerank-2.5",
    "BAAI/bge-reranker-v2-m3",
)
ALIASES = (COHERE, JINA, VOYAGE, HUB)
UNKNOWN = "rerank-of-another-service"
TOLERANCE = 1e-6
BEST = 2  # what top_n is, where it is tried


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; `wants_documents` where the client can ask for them, `top_n` None: not given."""

    url: str
    key: str
    model: str
    query: str
    documents: list[str]
    top_n: int | None = None
    wants_documents: bool = False


@dataclass(frozen=True, slots=True)
class Ranked:
    """One place of a ranking as the client tells it."""

    index: int
    score: float
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """One client: how it is called, and which exception of its own each refusal must be.

    Attributes:
        returns_documents: it can ask the service for them; otherwise it hands out the caller's own.
        unknown_model: None: it names no model.
        says_why: its exceptions hold the service's words.
    """

    name: str
    model: str
    rank: Callable[[Asked], Sequence[Ranked]]
    wrong_key: type[Exception]
    overload: type[Exception]
    invalid: type[Exception]
    unknown_model: type[Exception] | None = None
    returns_documents: bool = False
    says_why: bool = True


@dataclass(frozen=True, slots=True)
class Situation:
    """The systems to talk to, and the true ranking.

    Attributes:
        url, locked_url, full_url: of one that ranks, one that knows `key` alone, and one whose
            backlog is full. They may be the same.
        ranking: index and score, as `POST /v1/jobs` gives them.
    """

    url: str
    locked_url: str
    full_url: str
    key: str
    query: str
    documents: list[str]
    ranking: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one check; `said` is a cell of the table, `wrong` empty if all was well."""

    client: str
    check: str
    said: str
    wrong: str = ""


CHECKS = ("ranking", "top_n", "documents", "unknown model", "wrong key", "overload", "invalid")


def outcome(client: Client, check: str, situation: Situation) -> Outcome:
    """Carry out one of `CHECKS`."""
    asked = Asked(situation.url, situation.key, client.model, situation.query, situation.documents)
    refusals = {
        "unknown model": (replace(asked, model=UNKNOWN), client.unknown_model, "is not served"),
        "wrong key": (
            replace(asked, url=situation.locked_url, key="key-of-nobody"),
            client.wrong_key,
            "API key",
        ),
        "overload": (replace(asked, url=situation.full_url), client.overload, "the limit is"),
        "invalid": (replace(asked, query=" "), client.invalid, "must not be blank"),
    }
    if check in refusals:
        return _refused(client, check, *refusals[check])
    if check == "documents":
        asked = replace(asked, wants_documents=True)
    if check == "top_n":
        asked = replace(asked, top_n=BEST)
    return _ranked(client, check, asked, situation.ranking)


def _ranked(
    client: Client, check: str, asked: Asked, ranking: Sequence[tuple[int, float]]
) -> Outcome:
    try:
        found = list(client.rank(asked))
    except Exception as error:
        return Outcome(client.name, check, "FAILED", _shown(error))
    expected = ranking[: asked.top_n]
    same = len(found) == len(expected) and all(
        place.index == index and math.isclose(place.score, score, rel_tol=0, abs_tol=TOLERANCE)
        for place, (index, score) in zip(found, expected, strict=True)
    )
    if not same:
        return Outcome(client.name, check, "FAILED", f"{found}, not {expected}")
    if check != "documents":
        return Outcome(client.name, check, "ok")
    if [place.text for place in found] != [asked.documents[index] for index, _ in expected]:
        return Outcome(client.name, check, "FAILED", f"other documents: {found}")
    return Outcome(client.name, check, "ok" if client.returns_documents else "its own")


def _refused(
    client: Client, check: str, asked: Asked, expected: type[Exception] | None, why: str
) -> Outcome:
    if expected is None:
        return Outcome(client.name, check, "names none")
    try:
        found = client.rank(asked)
    except Exception as error:
        if type(error) is not expected:
            wrong = f"{_shown(error)}, not {expected.__name__}"
        elif client.says_why and why not in str(error):
            wrong = f"it does not say {why!r}: {_shown(error)}"
        else:
            return Outcome(client.name, check, type(error).__name__)
        return Outcome(client.name, check, "FAILED", wrong)
    return Outcome(client.name, check, "FAILED", f"{found}, not {expected.__name__}")


def _shown(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__name__}: {error}"[:600]


def main(clients: Sequence[Client]) -> None:
    """In a client's environment: a situation as JSON from stdin, an outcome a line to stdout."""
    given = json.load(sys.stdin)
    situation = Situation(**given | {"ranking": [tuple(place) for place in given["ranking"]]})
    for client in clients:
        for check in CHECKS:
            print(json.dumps(asdict(outcome(client, check, situation))), flush=True)
