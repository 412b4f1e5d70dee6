"""Each dialect is a translation: what becomes of a request, of a ranking and of an error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from api import dialects
from api.dialects import DIALECTS, AnyDialect, cohere, infinity, tei, vllm, voyage
from api.dialects.base import Ranked
from api.problems import Refusal
from rerankq.schema import JobRequest, Problem, Result
from tests.conftest import ROOT

PROBLEM = Problem(
    title="Not Found",
    status=404,
    code="model_not_found",
    detail="model: 'x' is not served here",
    field="model",
    request_id="req_1",
)


def ranked(*scores: float, **more: Any) -> Ranked:
    """A job whose n-th document has the n-th score."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    results = [Result(index=index, relevance_score=scores[index]) for index in order]
    fields = {"id": "job_1", "model": "m", "created": 7, "tokens": 30, "truncated": 0} | more
    return Ranked(results=results, **fields)


def jobs(dialect: AnyDialect, **body: Any) -> list[JobRequest]:
    return dialect.jobs(dialect.request.model_validate(body))


def answer(dialect: AnyDialect, *rankings: Ranked, **body: Any) -> Any:
    answering = dialect.answering(dialect.request.model_validate(body))
    return json.loads(answering(rankings).model_dump_json())


def wrong(dialect: AnyDialect, **body: Any) -> dict[str, Any]:
    """What is wrong with a body: `field` and `msg`, as the API puts them together."""
    with pytest.raises(ValidationError) as caught:
        dialect.request.model_validate(body)
    first: Any = caught.value.errors()[0]
    where = [str(part) for part in first["loc"] if not str(part).startswith("(")]
    where += [first["ctx"]["field"]] if "field" in first.get("ctx", {}) else []
    return {"field": ".".join(where), "msg": first["msg"], "type": first["type"]}


BODIES: list[tuple[AnyDialect, dict[str, Any]]] = [
    (cohere.V1, {"query": "q", "documents": ["a", "b"]}),
    (cohere.V2, {"query": "q", "documents": ["a", "b"]}),
    (tei.TEI, {"query": "q", "texts": ["a", "b"]}),
    (vllm.SCORE, {"queries": "q", "documents": ["a", "b"]}),
    (infinity.INFINITY, {"query": "q", "documents": ["a", "b"]}),
    (voyage.VOYAGE, {"query": "q", "documents": ["a", "b"]}),
]
BODY = {dialect.name: body for dialect, body in BODIES}
each = pytest.mark.parametrize(("dialect", "body"), BODIES, ids=lambda v: getattr(v, "name", ""))


def test_every_dialect_is_tried_here() -> None:
    assert [dialect for dialect, _ in BODIES] == list(DIALECTS)


@each
def test_null_is_not_given_and_the_unknown_is_ignored(
    dialect: AnyDialect, body: dict[str, Any]
) -> None:
    (plain,) = jobs(dialect, **body)
    assert plain.model_dump(exclude_defaults=True) == {"query": "q", "documents": ["a", "b"]}
    others = dict.fromkeys(set(dialect.request.model_fields) - set(body))
    assert jobs(dialect, **body, **others, unknown={"x": 1}) == [plain]


@each
def test_an_instruction_has_three_names(dialect: AnyDialect, body: dict[str, Any]) -> None:
    for name in ("instruction", "instruct", "prompt"):
        (job,) = jobs(dialect, **body, **{name: "find it"})
        assert job.instruction == "find it"
    assert jobs(dialect, **body, instruct="the same", prompt="the same")[0].instruction
    both = wrong(dialect, **body, instruct="one", prompt="another")
    assert both["field"] == "prompt"
    assert wrong(dialect, **body, prompt=" ")["field"] == "prompt"


@each
def test_a_field_is_called_as_the_caller_calls_it(
    dialect: AnyDialect, body: dict[str, Any]
) -> None:
    for name in ("instruction", "instruct", "prompt"):
        request = dialect.request.model_validate(body | {name: "find it"})
        refusal = Refusal(422, "c", "instruction: too long", field="instruction", limit=7)
        told = refusal.with_names(request.names).problem
        assert (told.field, told.detail, told.limit) == (name, f"{name}: too long", 7)
    other = Refusal(422, "c", "query: too long", field="query")
    field = next(iter(body))
    assert other.with_names(request.names).problem.detail == f"{field}: too long"


@each
def test_nothing_is_held_that_does_not_go_back(dialect: AnyDialect, body: dict[str, Any]) -> None:
    """While its jobs are waited for: many callers' documents would be."""
    texts = dialect.sign
    request = dialect.request.model_validate(body | {texts: ["a long text", "and another"]})
    held = [cell.cell_contents for cell in dialect.answering(request).__closure__ or ()]
    assert "text" not in repr(held)
    assert all(cell is not request for cell in held)


@each
def test_a_model_is_passed_on(dialect: AnyDialect, body: dict[str, Any]) -> None:
    assert jobs(dialect, **body, model="other")[0].model == "other"


@pytest.mark.parametrize(
    ("dialect", "fields"),
    [
        (cohere.V1, {"top_n": 1}),
        (cohere.V1, {"top_n": "1", "top_k": None}),
        (cohere.V1, {"top_k": 1}),
        (tei.TEI, {"top_n": 1}),
        (infinity.INFINITY, {"top_n": 1}),
        (voyage.VOYAGE, {"top_k": 1}),
    ],
)
def test_the_best_n(dialect: AnyDialect, fields: dict[str, Any]) -> None:
    body = BODY[dialect.name]
    assert jobs(dialect, **body, **fields)[0].top_n == 1


def test_0_is_all_where_a_service_has_it_as_its_default() -> None:
    body = BODY[cohere.V1.name]
    assert jobs(cohere.V1, **body, top_n=0)[0].top_n is None
    assert jobs(cohere.V1, **body, max_tokens_per_doc=0)[0].max_tokens_per_doc is None
    assert wrong(cohere.V1, **body, top_n=-1)["field"] == "top_n"


@pytest.mark.parametrize(
    ("dialect", "fields", "raw"),
    [
        (tei.TEI, {"raw_scores": "true"}, True),
        (infinity.INFINITY, {"raw_scores": True}, True),
        (cohere.V1, {"use_activation": False}, True),
        (cohere.V1, {"activation": "false"}, True),
        (vllm.SCORE, {"use_activation": False}, True),
        (vllm.SCORE, {"softmax": False}, True),
        (vllm.SCORE, {"use_activation": True, "activation": False}, False),
        (vllm.SCORE, {"raw_scores": False, "activation": False}, False),
    ],
)
def test_log_odds_by_whatever_name(dialect: AnyDialect, fields: dict[str, Any], raw: bool) -> None:
    assert jobs(dialect, **BODY[dialect.name], **fields)[0].raw_scores is raw


def test_what_is_ranked_of_an_object() -> None:
    documents = [
        {"text": "words", "title": "A", "n": 1},
        {"text": "more", "title": "B"},
        "a text",
    ]
    (job,) = jobs(cohere.V1, query="q", documents=documents)
    assert job.documents == ["words", "more", "a text"]
    (job,) = jobs(cohere.V1, query="q", documents=documents, rank_fields=["title", "text"])
    assert job.documents == ["A\nwords", "B\nmore", "a text"]
    (job,) = jobs(cohere.V1, query="q", documents=documents, rank_fields=["lost", "title"])
    assert job.documents[0] == "A"
    lacking = wrong(cohere.V1, query="q", documents=documents, rank_fields=["lost"])
    assert lacking == {
        "field": "documents.0.lost",
        "msg": "is required",
        "type": "wrong_field",
    }
    number = wrong(cohere.V1, query="q", documents=documents, rank_fields=["n"])
    assert number["field"] == "documents.0.n"


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "documents.1.text"),
        ({"text": 7}, "documents.1.text"),
        ({"image": "https://example.org/a.png"}, "documents.1.text"),
        (7, "documents.1"),
        ({"text": "x" * 1_048_577}, "documents.1.text"),
        ({"text": "\ud800"}, "documents.1.text"),
        ({"text": "x", "other": "\ud800"}, "documents.1"),
        ({"text": "x", "other": float("inf")}, "documents.1"),
    ],
)
def test_a_wrong_document_is_named(document: object, field: str) -> None:
    body = {"query": "q", "documents": ["d", document], "return_documents": True}
    assert wrong(cohere.V1, **body)["field"] == field


def test_documents_come_back_as_they_were_given() -> None:
    body: dict[str, Any] = {"query": "q", "documents": ["a", {"text": "b", "id": 7}]}
    plain = answer(cohere.V1, ranked(0.1, 0.9), **body)
    assert plain["results"] == [
        {"index": 1, "relevance_score": 0.9},
        {"index": 0, "relevance_score": 0.1},
    ]
    assert plain["data"] == plain["results"]
    for dialect in (cohere.V1, cohere.V2):
        results = answer(dialect, ranked(0.1, 0.9), **body, return_documents="true")["results"]
        assert [r["document"] for r in results] == [{"text": "b", "id": 7}, {"text": "a"}]
    texts = {"documents": ["a", "b"], "return_documents": True, "query": "q"}
    results = answer(infinity.INFINITY, ranked(0.1, 0.9), **texts)["results"]
    assert [r["document"] for r in results] == ["b", "a"]
    results = answer(voyage.VOYAGE, ranked(0.1, 0.9), **texts)["data"]
    assert [r["document"] for r in results] == ["b", "a"]
    results = answer(tei.TEI, ranked(0.1, 0.9), query="q", texts=["a", "b"], return_text=True)
    assert results == [
        {"index": 1, "text": "b", "score": 0.9},
        {"index": 0, "text": "a", "score": 0.1},
    ]


@each
def test_an_answer_says_who_scored_and_how_much(dialect: AnyDialect, body: dict[str, Any]) -> None:
    said = answer(dialect, ranked(0.1, 0.9), **body)
    if dialect is tei.TEI:
        assert said == [{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]
        return
    assert (said["id"], said["model"]) == ("job_1", "m")
    assert said["usage"] == {"prompt_tokens": 30, "total_tokens": 30}
    results = said.get("results", said.get("data"))
    assert all("document" not in result for result in results)


@each
def test_the_example_is_one(dialect: AnyDialect, body: dict[str, Any]) -> None:
    request, shown = dialect.example
    (job,) = jobs(dialect, **request)
    count = job.top_n or len(job.documents)
    example = ranked(*(0.991, 0.0004)[:count], tokens=186, created=1_767_605_400)
    said = answer(dialect, example, **request)
    ours = {"id": "job_1", "model": "m"}
    assert said == (shown if isinstance(shown, list) else shown | ours)


@pytest.mark.parametrize("names", vllm.NAMES)
def test_pairs_are_grouped_by_query_and_come_back_in_order(names: tuple[str, str]) -> None:
    sides: dict[str, Any] = {names[0]: ["p", "q", "p"], names[1]: ["a", "b", "c"]}
    of_p, of_q = jobs(vllm.SCORE, **sides)
    assert (of_p.query, of_p.documents) == ("p", ["a", "c"])
    assert (of_q.query, of_q.documents) == ("q", ["b"])
    said = answer(vllm.SCORE, ranked(0.1, 0.3), ranked(0.2, id="job_2", truncated=1), **sides)
    assert [(s["index"], s["score"]) for s in said["data"]] == [(0, 0.1), (1, 0.2), (2, 0.3)]
    assert (said["usage"]["total_tokens"], said["truncated"]) == (60, 1)


def test_one_query_for_all_and_one_pair() -> None:
    (job,) = jobs(vllm.SCORE, text_1="q", text_2=["a", "b"])
    assert (job.query, job.documents) == ("q", ["a", "b"])
    (job,) = jobs(vllm.SCORE, text_1=["q"], text_2="a")
    assert (job.query, job.documents) == ("q", ["a"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "queries"),
        ({"queries": "q"}, "documents"),
        ({"text_2": "a"}, "text_1"),
        ({"text_1": "q", "documents": "a"}, "queries"),
        ({"text_1": "q", "text_2": "a", "items": "b"}, "items"),
        ({"text_1": ["p", "q"], "text_2": ["a"]}, "text_2"),
        ({"text_1": ["p", "q"], "text_2": "a"}, "text_2"),
        ({"text_1": [], "text_2": "a"}, "text_1"),
        ({"text_1": "q", "text_2": []}, "text_2"),
        ({"text_1": " ", "text_2": "a"}, "text_1.0"),
        ({"text_1": "q", "text_2": [7]}, "text_2.0"),
        ({"text_1": "q", "text_2": {"content": []}}, "text_2"),
        ({"text_1": [str(n) for n in range(1_001)], "text_2": ["a"] * 1_001}, "text_1"),
    ],
)
def test_what_makes_no_pairs(body: dict[str, Any], field: str) -> None:
    assert wrong(vllm.SCORE, **body)["field"] == field


@pytest.mark.parametrize(
    ("path", "body", "dialect"),
    [
        ("/rerank", {"texts": []}, tei.TEI),
        ("/rerank", {"documents": []}, cohere.V1),
        ("/rerank", {"documents": [], "texts": []}, tei.TEI),
        ("/rerank", {"documents": [], "texts": None}, cohere.V1),
        ("/rerank", {"documents": None, "texts": []}, tei.TEI),
        ("/rerank", {"texts": None}, tei.TEI),
        ("/rerank", {}, None),
        ("/rerank", [], None),
        ("/rerank", None, None),
        ("/v1/jobs", {"documents": []}, None),
    ],
)
def test_a_body_is_known_by_its_sign(path: str, body: object, dialect: AnyDialect | None) -> None:
    scope: dict[str, Any] = {"path": path}
    dialects.recognise(scope, body)
    assert scope.get("dialect") is dialect


@pytest.mark.parametrize(
    ("dialect", "read"),
    [
        (cohere.V1, lambda e: (e["message"], e["error"]["message"])),
        (cohere.V2, lambda e: (e["message"],)),
        (tei.TEI, lambda e: (e["error"],)),
        (vllm.SCORE, lambda e: (e["error"]["message"], e["message"])),
        (infinity.INFINITY, lambda e: (e["error"]["message"],)),
        (voyage.VOYAGE, lambda e: (e["detail"],)),
    ],
)
def test_an_error_is_told_where_its_clients_look(dialect: AnyDialect, read: Any) -> None:
    status, members = dialects.error_form({"path": dialect.paths[0], "dialect": dialect}, PROBLEM)
    assert status == (400 if dialect is voyage.VOYAGE else 404)
    assert set(read(PROBLEM.model_dump() | members)) == {PROBLEM.detail}


def test_before_the_body_is_known_both_find_theirs() -> None:
    _, members = dialects.error_form({"path": "/rerank"}, PROBLEM)
    assert members["message"] == members["error"] == PROBLEM.detail
    assert (members["id"], members["error_type"]) == ("req_1", "Validation")
    assert dialects.error_form({"path": "/v1/jobs"}, PROBLEM) == (404, {})


@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [
        (422, 422, "Validation"),
        (413, 413, "Validation"),
        (429, 429, "Overloaded"),
        (500, 424, "Backend"),
        (503, 503, "Unhealthy"),
    ],
)
def test_the_statuses_of_tei(status: int, told: int, kind: str) -> None:
    problem = PROBLEM.model_copy(update={"status": status})
    told_status, members = dialects.error_form({"path": "/rerank", "dialect": tei.TEI}, problem)
    assert (told_status, members["error_type"]) == (told, kind)


REFUSED: dict[str, tuple[object, object]] = {  # a value that is refused, and one that is not
    "max_tokens_per_query": (5, 0),
    "truncate_prompt_tokens": (5, -1),
    "truncation_side": ("left", "right"),
    "truncation_direction": ("Left", "Right"),
    "chat_template_kwargs": ({"enable_thinking": True}, {"instruction": "find it"}),
    "relevant_spans": ({"mode": "enabled", "max_spans": 3}, {"mode": "disabled"}),
    "return_embeddings": (True, False),
}

Table = dict[str, str]


def documented() -> Iterator[tuple[str, Table]]:
    """For each dialect's name its table in docs/clients.md: what becomes of each field."""
    text = (ROOT / "docs" / "clients.md").read_text().partition("\n## Every field\n")[2]
    for section in re.split(r"^### ", text.partition("\n## ")[0], flags=re.MULTILINE)[1:]:
        heading, _, rest = section.partition("\n")
        rows = re.findall(r"^\| (`.+?`) \| (honoured|ignored|refused) \|", rest, re.MULTILINE)
        table = {name: fate for names, fate in rows for name in re.findall(r"`(\w+)`", names)}
        for name in heading.split("; "):
            yield name, table


TABLES = dict(documented())


@each
def test_the_table_of_fields_is_the_code_s(dialect: AnyDialect, body: dict[str, Any]) -> None:
    table = TABLES[dialect.name]
    known = set(dialect.request.model_fields)
    assert {name for name, fate in table.items() if fate != "ignored"} == known
    refused = {name for name, fate in table.items() if fate == "refused"}
    assert refused == known & set(REFUSED)
    for name in refused:
        bad, good = REFUSED[name]
        assert wrong(dialect, **body, **{name: bad})["field"].startswith(name)
        assert jobs(dialect, **body, **{name: good})


def test_there_is_no_table_too_many() -> None:
    assert set(TABLES) == {dialect.name for dialect in DIALECTS}


def test_every_path_is_documented() -> None:
    text = (ROOT / "docs" / "clients.md").read_text()
    for dialect in DIALECTS:
        for path in dialect.paths:
            assert f"`{path}`" in text, path
