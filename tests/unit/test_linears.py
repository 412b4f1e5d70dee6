"""Parts of models written anew: the same numbers as transformers' own."""

import psutil
import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaConfig, GemmaMLP, GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3Config, Qwen3MLP, Qwen3RMSNorm

from worker.engine.linears import FusedGated, InPlaceGated, PackedGated, PackedLinear
from worker.engine.norms import LeanRMSNorm


@pytest.mark.parametrize("kind", [GemmaRMSNorm, LlamaRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm])
@pytest.mark.parametrize("eps", [1e-6, 0.5])
@torch.inference_mode()
def test_a_norm_in_fewer_passes_is_the_same_norm(kind: type[nn.Module], eps: float) -> None:
    norm = kind(48, eps)
    nn.init.normal_(norm.weight)
    states = torch.randn(1, 5, 3, 48) * torch.tensor([0.0, 1e-3, 1.0])[:, None]
    before = states.clone()
    torch.testing.assert_close(LeanRMSNorm(norm)(states), norm(states), rtol=1e-5, atol=1e-6)
    assert torch.equal(states, before)


def test_only_norms_that_are_known_and_in_float32_are_written_anew() -> None:
    assert LeanRMSNorm.fits(Qwen3RMSNorm(8))
    assert not LeanRMSNorm.fits(Qwen3RMSNorm(8).bfloat16())
    assert not LeanRMSNorm.fits(nn.LayerNorm(8))
    assert not LeanRMSNorm.fits(nn.RMSNorm(8))


@pytest.mark.parametrize("kind", [InPlaceGated, PackedGated, FusedGated])
@torch.inference_mode()
def test_a_gated_product_is_the_same_product(kind: type[InPlaceGated]) -> None:
    mlp = Qwen3MLP(Qwen3Config(hidden_size=32, intermediate_size=96))
    states = torch.randn(1, 7, 32)
    before = states.clone()
    assert kind.fits(mlp)
    torch.testing.assert_close(kind(mlp)(states), mlp(states), rtol=1e-4, atol=1e-6)
    assert torch.equal(states, before)


def test_a_gate_that_is_not_silu_is_left_alone() -> None:
    gelu = GemmaMLP(GemmaConfig(hidden_size=32, intermediate_size=96))
    assert not InPlaceGated.fits(gelu)


@torch.inference_mode()
def test_rows_of_any_number_do_not_fill_the_memory() -> None:
    """With AVX-512 what is compiled for each of them takes 0.7 MB."""
    layer = PackedLinear(nn.Linear(256, 256))
    process = psutil.Process()
    layer(torch.randn(1, 300, 256))
    before = process.memory_info().rss
    for rows in range(400):
        layer(torch.randn(1, 300 + rows, 256))
    assert process.memory_info().rss - before < 100e6
