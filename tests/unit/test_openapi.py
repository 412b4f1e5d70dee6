"""The OpenAPI document is whole: every call described, with an example, and its refusals."""

from typing import Any

import pytest

from api.app import create_app
from api.dialects import BY_PATH
from rerankq.settings import Settings

DOCUMENT: dict[str, Any] = create_app(Settings()).openapi()
CALLS = [
    (method, path, call)
    for path, calls in DOCUMENT["paths"].items()
    for method, call in calls.items()
]


@pytest.mark.parametrize(
    ("method", "path", "call"), CALLS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_call_has_words_and_an_example(method: str, path: str, call: dict[str, Any]) -> None:
    assert call["description"]
    successes = [answer for status, answer in call["responses"].items() if status.startswith("2")]
    contents = [content for answer in successes for content in answer["content"].values()]
    assert any("example" in content for content in contents)
    if "requestBody" in call:
        assert all(content["examples"] for content in call["requestBody"]["content"].values())


@pytest.mark.parametrize("path", ["/v1/jobs", *BY_PATH])
def test_refusals_are_problems(path: str) -> None:
    responses = DOCUMENT["paths"][path]["post"]["responses"]
    for status in ("400", "401", "404", "413", "422", "429", "503"):
        assert "application/problem+json" in responses[status]["content"]
