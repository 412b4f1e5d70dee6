"""Layers fused for CUDA give what the model's own give; on the CPU, with passes in plain torch."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from rerankq.errors import SettingsError
from rerankq.settings import Settings
from tests.models import ROOT, make_gemma, make_mxbai, make_qwen3, make_qwen3_classifier
from tests.unit.test_attention import like_torchs
from worker.engine import choice as choosing
from worker.engine.choice import Choice
from worker.engine.fused import FusedDecoder, Norm
from worker.engine.heads import row_of, row_of_classifier
from worker.engine.interface import Pair
from worker.engine.loading import load
from worker.engine.packed import PackedCausal
from worker.engine.parts import parts_of
from worker.engine.templates import Limits


class PlainPasses:
    """The formulas of `fused.Passes`, as they are written down."""

    def normed(self, states: Tensor, norm: Norm) -> Tensor:
        x = states.float()
        return (x * norm.weight / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt()).to(
            states.dtype
        )

    def rotated(
        self, states: Tensor, norm: Norm | None, cos: Tensor, sin: Tensor, rows: Tensor | None
    ) -> Tensor:
        if rows is not None:
            states, cos, sin = states[rows], cos[rows], sin[rows]
        x = self.normed(states, norm).float() if norm else states.float()
        left, right = x.chunk(2, dim=-1)
        turned = torch.cat((-right, left), dim=-1)
        return (x * cos[:, None] + turned * sin[:, None]).to(states.dtype)

    def gated(self, both: Tensor, function: str) -> Tensor:
        gate, up = both.float().chunk(2, dim=-1)
        act = silu(gate) if function == "silu" else gelu(gate, approximate="tanh")
        return (act * up).to(both.dtype)


@pytest.fixture(autouse=True)
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its attention as documented, and nothing decided by a stopwatch."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", like_torchs)
    monkeypatch.setattr(
        choosing, "least_times", lambda runs, _: [run() or 1.0 / i for i, run in enumerate(runs, 1)]
    )


@dataclass
class Case:
    model: Any
    pairs: list[Pair]
    expected: Tensor
    choice: Choice

    def scores(self) -> Tensor:
        return choosing.scores(self.choice.forward, self.pairs, torch.device("cpu"))

    @property
    def layers(self) -> nn.ModuleList:
        return choosing.layers_of(self.model)


@pytest.fixture(params=[make_qwen3, make_qwen3_classifier, make_mxbai, make_gemma])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    settings = Settings(model=str(request.param(tmp_path)), device="cpu")
    loaded = load(settings)
    parts = parts_of(loaded, settings)
    limits = Limits(parts.max_length, 0)
    pairs = [
        pair
        for query, documents in (("what is it?", ["a grant", "", "word " * 200]), ("who", ["we"]))
        for pair in parts.template.encode(query, None, documents, limits)
    ]
    plain = choosing.padded_pass(loaded.model, parts)
    expected = choosing.scores(plain, pairs, loaded.device)
    choice = Choice(loaded.model, loaded.device, plain, pairs)
    row = row_of(loaded.model, parts.head) if parts.head else row_of_classifier(loaded.model)
    assert choice.pack(partial(PackedCausal, loaded.model, row, on_gpu=True))
    return Case(loaded.model, pairs, expected, choice)


def test_fused_layers_give_the_same_scores(case: Case) -> None:
    with torch.no_grad():
        assert case.choice.fuse(PlainPasses)
    assert all(isinstance(layer, FusedDecoder) for layer in case.layers)
    torch.testing.assert_close(case.scores(), case.expected, atol=1e-4, rtol=1e-5)
    alone = torch.stack(
        [choosing.scores(case.choice.forward, [p], torch.device("cpu"))[0] for p in case.pairs]
    )
    torch.testing.assert_close(alone, case.expected, atol=1e-4, rtol=1e-5)


def test_weights_lie_in_memory_once(case: Case) -> None:
    with torch.no_grad():
        assert case.choice.fuse(PlainPasses)
    for fused in case.layers:
        for whole, parts in (
            (fused._seen, [getattr(fused.self_attn, f"{name}_proj") for name in "qkv"]),
            (fused._gate_up, [fused.mlp.gate_proj, fused.mlp.up_proj]),
        ):
            places = [part.weight.data_ptr() for part in parts]
            sizes = [part.weight.nbytes for part in parts]
            starts = [whole.data_ptr() + sum(sizes[:i]) for i in range(len(sizes))]
            assert places == starts


class Wrong(PlainPasses):
    def gated(self, both: Tensor, function: str) -> Tensor:
        return super().gated(both, function) * 1.01


class Missing(PlainPasses):
    def rotated(self, *_: Any) -> Tensor:
        raise RuntimeError("no such\nkernel")


def lacking() -> PlainPasses:
    raise SettingsError("needs the package triton")


def broken() -> PlainPasses:
    raise ImportError("triton's library does not load")


@pytest.mark.parametrize(
    ("passes", "reason"),
    [
        (Wrong, "layers not fused: fused, its scores are off by"),
        (Missing, "layers not fused: fused, it fails: no such kernel"),
        (lacking, "layers not fused: needs the package triton"),
        (broken, "layers not fused: triton's library does not load"),
    ],
)
def test_what_is_wrong_or_missing_is_not_used(
    case: Case, passes: Callable[[], PlainPasses], reason: str
) -> None:
    with torch.no_grad():
        assert not case.choice.fuse(passes)
    assert reason in case.choice.reasons[-1]
    assert not any(isinstance(layer, FusedDecoder) for layer in case.layers)
    torch.testing.assert_close(case.scores(), case.expected, atol=1e-4, rtol=1e-5)


def test_what_gains_nothing_is_not_used(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "least_times", lambda *_: [1.0, 1.1])
    with torch.no_grad():
        assert not case.choice.fuse(PlainPasses)
    assert "no gain" in case.choice.reasons[-1]
    assert not any(isinstance(layer, FusedDecoder) for layer in case.layers)


def with_bias(layer: Any) -> None:
    layer.mlp.down_proj.bias = nn.Parameter(torch.zeros(48))


def compiled(layer: Any) -> None:
    layer.mlp.compile()


def with_other_norm(layer: Any) -> None:
    layer.input_layernorm = nn.LayerNorm(48)


def of_odd_width(layer: Any) -> None:
    layer.self_attn.head_dim = 24


def with_window(layer: Any) -> None:
    layer.self_attn.sliding_window = 64


@pytest.mark.parametrize(
    "change", [with_bias, compiled, with_other_norm, of_odd_width, with_window]
)
def test_layers_that_are_not_known_stay(case: Case, change: Callable[[Any], None]) -> None:
    change(case.layers[1])
    with torch.no_grad():
        assert not case.choice.fuse(PlainPasses)
    assert "DecoderLayer is not known" in case.choice.reasons[-1]


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="Triton is not made for it"
)
def test_tritons_passes_are_the_formulas() -> None:
    command = [sys.executable, "-m", "tests.interpreted_passes"]
    env = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "69 passes agree\n"
