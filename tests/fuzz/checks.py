"""What every answer must hold to, whatever was asked."""

from __future__ import annotations

from pydantic import ValidationError
from schemathesis import Case, CheckContext, Response
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from api.dialects import BY_PATH
from rerankq.schema import Problem, Result

PROBLEM = "application/problem+json"


def no_error_of_ours(_: CheckContext, response: Response, case: Case) -> None:
    """503 says when to come back; that the document knows it is another check's."""
    status = response.status_code
    assert status < 500 or status == 503, f"{status}: {response.text[:300]}"
    assert status not in (429, 503) or "retry-after" in response.headers, "no Retry-After"


def is_named(_: CheckContext, response: Response, case: Case) -> None:
    assert response.headers.get("x-request-id", [""])[0], "no X-Request-ID"


def refuses_with_a_problem(_: CheckContext, response: Response, case: Case) -> None:
    if response.status_code < 400:
        return
    assert response.headers["content-type"] == [PROBLEM], response.headers["content-type"]
    problem = Problem.model_validate_json(response.content)
    assert problem.status == response.status_code
    assert [problem.request_id] == response.headers["x-request-id"]


def ranks_line_by_line(_: CheckContext, response: Response, case: Case) -> None:
    """OpenAPI 3.1 has no schema for the lines of NDJSON."""
    if response.headers.get("content-type") == ["application/x-ndjson"]:
        lines = response.content.decode().splitlines()
        try:
            results = [Result.model_validate_json(line, strict=True) for line in lines]
        except ValidationError as error:
            raise AssertionError(str(error)) from None
        scores = [result.relevance_score for result in results]
        assert scores == sorted(scores, reverse=True)


def speaks_its_dialect(_: CheckContext, response: Response, case: Case) -> None:
    """An error has the members of one of the path's dialects; a ranking is best first."""
    spoken = BY_PATH.get(case.path, [])
    if not spoken:
        return
    told = response.json()
    if response.status_code >= 400:
        members = [dialect.error(Problem.model_validate(told)).keys() for dialect in spoken]
        assert any(told.keys() >= each for each in members), f"none of {members}"
    elif "score" not in case.path:
        results = told if isinstance(told, list) else told.get("results", told.get("data"))
        scores = [result.get("score", result.get("relevance_score")) for result in results]
        assert scores == sorted(scores, reverse=True)


CHECKS: list[CheckFunction] = [
    no_error_of_ours,
    is_named,
    refuses_with_a_problem,
    ranks_line_by_line,
    speaks_its_dialect,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
]
