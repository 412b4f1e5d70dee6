"""The engine's scores equal the reference's, whatever a pair is batched with."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

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
    return host(Settings(model=str(folder), device="cpu"))


def texts(seed: int, count: int, longest: int) -> list[str]:
    rng = random.Random(seed)
    lengths = [0, 1, longest, *(rng.randrange(longest) for _ in range(count - 3))]
    return [" ".join(rng.choices(WORDS, k=n)) for n in lengths]


def test_scores_equal_the_reference(engine: HostedEngine, folder: Path) -> None:
    reference = Reference(folder)
    queries = ["what is a license?", "Work", "naïve 東京"]
    cases = [(q, d) for q in queries for d in texts(7, 7, 50)]
    pairs = {case: engine.encode(case[0], None, [case[1]])[0] for case in cases}
    expected = {case: reference(*case) for case in set(cases)}
    assert max(expected.values()) - min(expected.values()) > 0.1, "the model tells nothing apart"
    for seed in range(3):
        order = cases[:]
        random.Random(seed).shuffle(order)
        for start in range(0, len(order), 3 + 5 * seed):
            batch = order[start : start + 3 + 5 * seed]
            for case, score in zip(batch, engine.prepare([pairs[c] for c in batch])(), strict=True):
                assert sigmoid(score) == pytest.approx(expected[case], abs=1e-5)


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


def test_an_unknown_architecture_is_refused_with_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}'
    )
    with pytest.raises(UnsupportedModel, match=r"GPT2LMHeadModel.*Qwen3ForCausalLM"):
        host(Settings(model=str(tmp_path)))
