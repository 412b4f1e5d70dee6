"""Every step from the plain pass is taken only if the scores stay; what was taken is said."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rerankq.errors import SettingsError
from rerankq.settings import Settings
from tests.models import ROOT, make_bert, make_qwen3
from worker.engine import choice, kernels, lastlayer, swap
from worker.engine.golden import SelfTestFailed
from worker.engine.hosted import HostedEngine, host
from worker.engine.interface import Layout
from worker.engine.kernels import Kernels, fused, products
from worker.engine.linears import PackedLinear
from worker.engine.spec import UnsupportedModel

QUESTION = ("what is a license?", None, ["a grant of rights", "", "word " * 200, "of all " * 3000])


@pytest.fixture(scope="module", params=[make_qwen3, make_bert])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return request.param(tmp_path_factory.mktemp("model"))


def engine(folder: Path, **options: Any) -> HostedEngine:
    settings = {"device": "cpu", "token_budget": 2048, "model": str(folder)} | options
    return host(Settings(**settings))


def scores(hosted: HostedEngine) -> list[float]:
    return hosted.prepare(hosted.encode(*QUESTION))()


def test_packed_and_padded_give_the_same_scores(folder: Path) -> None:
    packed, padded = engine(folder), engine(folder, attention="padded")
    assert (packed.profile.layout, padded.profile.layout) == (Layout.PACKED, Layout.PADDED)
    assert "last layer trimmed" in packed.profile.engine
    assert "padded: as set" in padded.profile.engine
    assert scores(packed) == pytest.approx(scores(padded), abs=1e-4)


def wrong(*args: Any) -> Tensor:
    return fused(*args) * 1.01


@pytest.mark.parametrize(
    ("name", "broken"),
    [("wrong", Kernels(((10**6, wrong),))), ("missing", Kernels(((10**6, lambda *_: 1 / 0),)))],
)
def test_packed_attention_that_is_wrong_is_not_used(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, broken: Kernels
) -> None:
    expected = scores(engine(folder))
    monkeypatch.setattr(choice, "_kernels", lambda model: broken)
    fallen_back = engine(folder)
    assert fallen_back.profile.layout is Layout.PADDED
    why = "its scores are off by" if name == "wrong" else "it fails: division by zero"
    assert why in fallen_back.profile.engine
    assert scores(fallen_back) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(SettingsError, match=r"RERANKQ_ATTENTION='packed'.*packed, it"):
        engine(folder, attention="packed")


def test_a_trimmed_layer_that_is_wrong_is_not_used(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    expected = scores(engine(folder))
    for kind in (lastlayer.Decoder, lastlayer.Encoder):
        monkeypatch.setattr(kind, "scored", lambda self, states, rows, *_, **__: states[:, rows])
    whole = engine(folder)
    assert whole.profile.layout is Layout.PACKED
    assert "last layer whole: trimmed, its scores are off by" in whole.profile.engine
    assert scores(whole) == pytest.approx(expected, abs=1e-4)


class Biased(PackedLinear):
    def forward(self, states: Tensor) -> Tensor:
        return super().forward(states) + 0.01


def test_a_kernel_that_is_fast_and_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "least_times", lambda runs, _: [1.0, 0.1][: len(runs)])
    with torch.inference_mode():
        (part,) = swap.swap(nn.Sequential(nn.Linear(32, 32)), torch.float32)
        assert type(part.now) is PackedLinear
        monkeypatch.setattr(swap, "PackedLinear", Biased)
        assert swap.swap(nn.Sequential(nn.Linear(32, 32)), torch.float32) == []


def test_parts_that_are_wrong_together_are_put_back(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    expected = scores(engine(folder))
    monkeypatch.setattr(
        swap, "_fastest", lambda part, *_: Biased if type(part) is nn.Linear else None
    )
    restored = engine(folder)
    assert "plain linears: swapped, its scores are off by" in restored.profile.engine
    assert scores(restored) == pytest.approx(expected, abs=1e-4)


def test_kernels_are_chosen_by_what_was_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([[2.0, 1.0], [1.0, 2.0], [2.0, 1.0]])
    monkeypatch.setattr(kernels, "least_times", lambda runs, rounds: next(times))
    chosen = kernels.fastest(4, 2, 16, causal=True)
    assert [chosen(n) for n in (64, 192, 512, 513)] == [products, fused, products, fused]
    assert str(chosen) == (
        "attention products to 64, fused to 192, products to 512 keys, then fused"
    )


def test_golden_scores_are_kept_or_the_worker_does_not_start(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models" / "demo", tmp_path / "demo")
    golden = tmp_path / "demo" / "golden.json"
    assert engine(tmp_path / "demo").profile.layout is Layout.PACKED
    cases = json.loads(golden.read_text())
    cases[-1]["log_odds"] += 0.01
    golden.write_text(json.dumps(cases))
    with pytest.raises(SelfTestFailed, match=r"'an empty document' and '' score .*golden\.json"):
        engine(tmp_path / "demo")


def test_a_model_without_finite_scores_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(choice, "scores", lambda *_: torch.tensor([0.0, float("nan")]))
    with pytest.raises(UnsupportedModel, match="no finite numbers"):
        engine(folder)


def test_memory_is_what_the_container_has_left(tmp_path: Path) -> None:
    assert choice._left_of_container(tmp_path) == sys.maxsize
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert choice._left_of_container(tmp_path) == sys.maxsize
    (tmp_path / "memory.max").write_text("1000\n")
    assert choice._left_of_container(tmp_path) == 700
