"""The engine's scores equal the reference's, whatever a pair is batched with."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankq.scores import sigmoid
from rerankq.settings import Settings
from tests.models import FAMILIES, ROOT
from tests.reference import Reference
from worker.engine.hosted import HostedEngine, host
from worker.engine.interface import Pair
from worker.engine.spec import UnsupportedModel

WORDS = [*(ROOT / "LICENSE").read_text().split(), "café", "東京", "🙂", "e\u0301"]


@pytest.fixture(scope="module", params=["demo", *FAMILIES])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "demo":
        return ROOT / "models" / "demo"
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def engine(folder: Path) -> HostedEngine:
    return host(Settings(model=str(folder), device="cpu", dtype="float32", token_budget=2048))


def cases(longest: int) -> list[tuple[str, str]]:
    """Queries and documents, from an empty document to one of so many words."""
    rng = random.Random(7)
    queries = ["what is a license?", "Work", "naïve 東京"]
    lengths = [0, 1, 3, 12, 40, 90, longest]
    return [(query, " ".join(rng.choices(WORDS, k=n))) for query in queries for n in lengths]


@pytest.fixture(scope="module")
def scored(engine: HostedEngine, folder: Path) -> list[tuple[Pair, float]]:
    """Pairs with the log-odds the reference gives each alone."""
    reference = Reference(folder)
    # With the template, the longest is just below what the smallest of the models takes.
    known = cases(longest=min(260, engine.profile.max_length // 4))
    pairs = [engine.encode(query, None, [document])[0] for query, document in known]
    assert not any(pair.truncated for pair in pairs)
    expected = [reference.log_odds(*case) for case in known]
    assert sigmoid(max(expected)) - sigmoid(min(expected)) > 0.1, "it tells nothing apart"
    return list(zip(pairs, expected, strict=True))


@settings(max_examples=15)
@given(batch=st.lists(st.integers(0, 20), min_size=1, max_size=24))
def test_scores_equal_the_references_in_any_company(
    engine: HostedEngine, scored: list[tuple[Pair, float]], batch: list[int]
) -> None:
    found = engine.prepare([scored[i][0] for i in batch])()
    for i, score in zip(batch, found, strict=True):
        expected = scored[i][1]
        # Log-odds to 1e-4, or to float32's own grain where they are large.
        assert score == pytest.approx(expected, abs=1e-4, rel=1e-5)
        assert sigmoid(score) == pytest.approx(sigmoid(expected), abs=1e-5)


def test_a_long_document_is_cut_to_the_models_limit(engine: HostedEngine) -> None:
    (pair,) = engine.encode("a query", None, ["word " * 20_000])
    assert pair.truncated
    assert pair.length == engine.profile.max_length
    assert len(engine.prepare([pair])()) == 1


def test_an_instruction_is_honoured_or_refused(engine: HostedEngine, folder: Path) -> None:
    if engine.profile.instruction:
        plain, told = (
            engine.prepare(engine.encode("q", instruction, ["some document"]))()
            for instruction in (None, "find its opposite")
        )
        assert plain != told
        assert sigmoid(told[0]) == pytest.approx(
            Reference(folder)("q", "some document", "find its opposite"), abs=1e-5
        )
    else:
        with pytest.raises(Exception, match="takes none"):
            engine.encode("q", "find its opposite", ["d"])


def test_ids_outside_the_vocabulary_never_reach_the_device(engine: HostedEngine) -> None:
    with pytest.raises(ValueError, match="vocabulary"):
        engine.prepare([Pair((1,), (10**9,))])


def test_a_name_that_is_no_folder_and_that_the_hub_does_not_give_is_refused_with_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="no such folder here, and from the hub it cannot be had: We"):
        host(Settings(model="typo/dir", device="cpu"))


def test_an_unknown_architecture_is_refused_with_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}'
    )
    with pytest.raises(UnsupportedModel, match=r"GPT2LMHeadModel.*Qwen3ForCausalLM"):
        host(Settings(model=str(tmp_path)))
