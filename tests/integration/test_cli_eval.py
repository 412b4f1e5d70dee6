"""`rerankq eval`: measures of a run, before and after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rerankq.bulk import evaluation
from rerankq.errors import UsageError
from tests.integration.command import run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "before.run").write_text("q1 Q0 a 1 2.0 bm25\nq1 Q0 b 2 1.0 bm25\n")
    (tmp_path / "after.run").write_text("q1 Q0 b 1 0.9 rerankq\nq1 Q0 a 2 0.1 rerankq\n")
    (tmp_path / "qrels").write_text("q1 0 b 1\nq2 0 c 1\n")
    (tmp_path / "beir.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tb\t1\nq2\tc\t1\n")
    return tmp_path


@pytest.mark.parametrize("qrels", ["qrels", "beir.tsv"])
def test_before_and_after(folder: Path, qrels: str) -> None:
    args = ("eval", folder / "after.run", folder / qrels, "--before", folder / "before.run")
    said = run(*args, "--measures", "RR@10", "P@1")
    assert said.code == 0, said.err
    head, first, second = said.out.splitlines()
    assert head.split() == ["before", "after", "difference"]
    # Of two judged queries one is not in the run: it counts as missed.
    assert first.split() == ["RR@10", "0.2500", "0.5000", "+0.2500"]
    assert second.split() == ["P@1", "0.0000", "0.5000", "+0.5000"]
    told = json.loads(run(*args, "--json").out)
    assert told["queries"] == 2
    assert set(told["measures"]) == set(evaluation.DEFAULT_MEASURES)


def test_one_run_alone(folder: Path) -> None:
    said = run("eval", folder / "after.run", folder / "qrels", "--measures", "P@1")
    assert (said.code, said.out.split()) == (0, ["P@1", "0.5000"])


def test_ties_stand_as_the_run_has_them() -> None:
    judged = {"q": {"a": 1}}
    for order, value in ((["a", "b"], 1.0), (["b", "a"], 0.0)):
        assert evaluation.measured({"q": order}, judged, ["P@1"]) == {"P@1": value}


def test_tied_scores_are_read_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "tied.run"
    path.write_text("q Q0 z 1 0.5 t\nq Q0 a 2 0.5 t\nq Q0 best 3 0.7 t\n")
    assert evaluation.read_run(str(path)) == {"q": ["best", "z", "a"]}


def test_what_cannot_be_measured(folder: Path) -> None:
    odd = folder / "odd"
    odd.write_text("one two\n")
    for args, says in (
        (("after.run", "nowhere"), "nowhere"),
        (("odd", "qrels"), "odd:1: not a line of a TREC run"),
        (("after.run", "odd"), "odd:1: not a line of judgements"),
        (("after.run", "qrels", "--measures", "nonsense@x"), "nonsense@x"),
    ):
        names = [folder / part if (folder / part).exists() else part for part in args]
        said = run("eval", *names)
        assert (said.code, says in said.err) == (2, True), said.err


def test_without_the_package_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ir_measures", None)
    with pytest.raises(UsageError, match="pip install ir-measures"):
        evaluation.measured({}, {}, ["P@1"])
