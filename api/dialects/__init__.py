"""The forms in which other rerankers' clients speak, one module each, without any I/O.

A new one is a module with a `Dialect` and a line in `DIALECTS`: its routes, its place in OpenAPI
and the form of every refusal on its paths follow from it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from starlette.types import Scope

from api.dialects import cohere, infinity, tei, vllm, voyage
from api.dialects.base import Dialect
from rerankq.schema import Problem

AnyDialect = Dialect[Any]

# Of several on one path the first is meant by a body that has no dialect's sign.
DIALECTS: tuple[AnyDialect, ...] = (
    cohere.V1,
    cohere.V2,
    tei.TEI,
    vllm.SCORE,
    infinity.INFINITY,
    voyage.VOYAGE,
)


def _by_path() -> dict[str, list[AnyDialect]]:
    found: defaultdict[str, list[AnyDialect]] = defaultdict(list)
    for dialect in DIALECTS:
        for path in dialect.paths:
            found[path].append(dialect)
    return dict(found)


BY_PATH = _by_path()


def recognise(scope: Scope, body: object) -> None:
    """Note whose form a request has, once its body is known, for what it may be refused with."""
    found = signed(BY_PATH.get(scope["path"], []), body)
    if found is not None:
        scope["dialect"] = found


def signed(candidates: list[AnyDialect], body: object) -> AnyDialect | None:
    """Of dialects of one path, the one that a body has the sign of, the rarest first."""
    fields = body if isinstance(body, dict) else {}
    named = [each for each in reversed(candidates) if each.sign in fields]
    given = [each for each in named if fields[each.sign] is not None]  # null is as good as absent
    return next(iter(given or named), None)


def error_form(scope: Scope, problem: Problem) -> tuple[int, dict[str, Any]]:
    """The status and the further members by which the client of this request knows an error.

    Before the body is known a path of several dialects has the members of all.
    """
    known: AnyDialect | None = scope.get("dialect")
    dialects = [known] if known else BY_PATH.get(scope["path"], [])
    members: dict[str, Any] = {}
    for dialect in dialects:
        members |= dialect.error(problem)
    if len(dialects) != 1:
        return problem.status, members
    return dialects[0].statuses.get(problem.status, problem.status), members
