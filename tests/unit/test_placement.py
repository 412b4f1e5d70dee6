"""Where weights lie: the same scores wherever that is, and a line for what cannot be."""

from __future__ import annotations

from functools import partialmethod
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch._dynamo.utils import counters
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

from rerankq.errors import SettingsError
from rerankq.settings import Settings
from tests.models import make_bert, make_qwen3
from worker.engine import compiling, fp8, placement
from worker.engine.hosted import host
from worker.engine.loading import load
from worker.engine.placement import head_rows, input_device, unquantized, whole
from worker.engine.spec import UnsupportedModel

IDS = torch.arange(60).reshape(3, 20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_qwen3(tmp_path_factory.mktemp("qwen3"))


@pytest.fixture(scope="module")
def reference(folder: Path) -> Qwen3ForCausalLM:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.inference_mode()
def hidden(model: object) -> torch.Tensor:
    return model.base_model(input_ids=IDS, use_cache=False).last_hidden_state  # type: ignore[attr-defined]


def environment(folder: Path, **variables: str) -> Settings:
    return Settings.from_env(
        {"RERANKQ_MODEL": str(folder)} | {f"RERANKQ_{k}": v for k, v in variables.items()}
    )


MAPS = {
    "one device": ('{"": "cpu"}', True),
    "automatic": ("auto", True),
    "layers on disk": ('{"": "cpu", "model.layers.1": "disk", "model.layers.2": "disk"}', False),
    "head and embeddings on disk": (
        '{"model": "cpu", "model.embed_tokens": "disk", "lm_head": "disk"}',
        False,
    ),
}


@pytest.mark.parametrize(("spread", "in_one_piece"), MAPS.values(), ids=MAPS)
def test_a_spread_model_computes_the_same(
    folder: Path, reference: Qwen3ForCausalLM, spread: str, in_one_piece: bool
) -> None:
    model = load(environment(folder, DEVICE_MAP=spread)).model
    assert whole(model) == unquantized(model) == in_one_piece
    assert input_device(model) == torch.device("cpu")
    assert torch.allclose(hidden(model), hidden(reference), atol=1e-5)
    rows = head_rows(model, (5, 3))
    assert torch.equal(rows, reference.lm_head.weight[[5, 3]])
    assert whole(model) == in_one_piece, "reading the head left it where it was read to"


def test_what_is_in_no_safetensors_file_goes_to_the_offload_folder(
    folder: Path, reference: Qwen3ForCausalLM, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    make_qwen3(copy)
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    spread = {"DEVICE_MAP": '{"": "cpu", "model.layers.1": "disk"}'}
    with pytest.raises(SettingsError, match="RERANKQ_OFFLOAD_DIR: needed"):
        load(environment(copy, **spread))
    offload = tmp_path / "not" / "there"
    model = load(environment(copy, OFFLOAD_DIR=str(offload), **spread)).model
    assert list(offload.iterdir())
    assert torch.allclose(hidden(model), hidden(reference), atol=1e-5)


def test_fp8_is_close_and_leaves_the_head_alone(
    folder: Path, reference: Qwen3ForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The product is defined on the CPU, too, only not worth having there.
    monkeypatch.setattr(fp8, "lacking", fp8.tried)
    model = load(environment(folder, QUANTIZATION="fp8", DTYPE="bfloat16")).model
    assert whole(model)
    assert not unquantized(model)
    kinds = {type(m).__name__ for m in model.base_model.modules() if "inear" in type(m).__name__}
    assert kinds == {"Fp8Linear"}
    assert torch.equal(model.lm_head.weight, reference.lm_head.weight.bfloat16())
    exact = hidden(reference)
    off = (hidden(model).float() - exact).norm() / exact.norm()
    assert 0.001 < off < 0.2


def test_fp8_s_scales_and_bias() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32, dtype=torch.bfloat16)
    with torch.no_grad():
        linear.weight *= torch.logspace(-3, 3, 32)[:, None]
        rows = torch.randn(2, 5, 64, dtype=torch.bfloat16) * torch.logspace(-3, 3, 5)[:, None]
        rows[0, 0] = 0
        exact = linear.weight.float() @ rows.float().reshape(-1, 64).T
        got = fp8.Fp8Linear(linear, torch.device("cpu"))(rows).float() - linear.bias.float()
    error = (got.reshape(-1, 32).T - exact).abs()
    size = rows.float().reshape(-1, 64).norm(dim=1) * linear.weight.float().norm(dim=1)[:, None]
    assert (error <= 0.02 * size + 0.01).all(), "a large row's scale was a small row's error"


def test_compiled_parts_compute_the_same_and_are_compiled_once(
    folder: Path, reference: Qwen3ForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All but the last step of compiling, the C++ compiler's, which takes half a minute.
    whole_way = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(whole_way, backend="eager"))
    torch._dynamo.reset()
    counters.clear()
    model = load(environment(folder, COMPILE="true")).model
    graphs = counters["stats"]["unique_graphs"]
    assert graphs == 6, "norms of both ranks and the gated product, for one row and for several"
    assert torch.allclose(hidden(model), hidden(reference), atol=1e-5)
    with torch.inference_mode():
        for shape in ((1, 9), (2, 70), (7, 33)):
            model.base_model(input_ids=torch.ones(shape, dtype=torch.long))
    assert counters["stats"]["unique_graphs"] == graphs, "compiled anew for a batch's size"


REFUSED = {
    "no CUDA": (
        {"DEVICE": "cuda"},
        "RERANKQ_DEVICE='cuda': this machine has no CUDA device",
    ),
    "two places": (
        {"DEVICE": "cpu", "DEVICE_MAP": "auto"},
        "RERANKQ_DEVICE='cpu': not with RERANKQ_DEVICE_MAP, which names the devices",
    ),
    "a word": (
        {"DEVICE_MAP": "everywhere"},
        "RERANKQ_DEVICE_MAP='everywhere': neither auto, balanced, sequential nor a JSON object of "
        "modules and devices",
    ),
    "no device": (
        {"DEVICE_MAP": '{"lm_head": null}'},
        "RERANKQ_DEVICE_MAP='{\"lm_head\": null}': 'lm_head' has no device (cpu, disk, or a GPU's "
        "number)",
    ),
    "a GPU that is not there": (
        {"DEVICE_MAP": '{"": 7}'},
        "RERANKQ_DEVICE_MAP: this machine has no device 7",
    ),
    "an unknown kind of device": (
        {"DEVICE_MAP": '{"": "tpu"}'},
        "RERANKQ_DEVICE_MAP: this machine has no device 'tpu'",
    ),
    "a module that is not there": (
        {"DEVICE_MAP": '{"": "cpu", "layers.1": "disk"}'},
        "RERANKQ_DEVICE_MAP: the model has no module 'layers.1'",
    ),
    "a gap": (
        {"DEVICE_MAP": '{"model": "cpu"}'},
        "RERANKQ_DEVICE_MAP: names no device for 'lm_head.weight'",
    ),
    "nothing to offload": (
        {"OFFLOAD_DIR": "/tmp"},  # noqa: S108
        "RERANKQ_OFFLOAD_DIR: only with RERANKQ_DEVICE_MAP",
    ),
    "no folder": (
        {"DEVICE_MAP": "auto", "OFFLOAD_DIR": "/dev/null/x"},
        "RERANKQ_OFFLOAD_DIR='/dev/null/x': Not a directory",
    ),
    "int8 without its package": (
        {"QUANTIZATION": "int8"},
        "RERANKQ_QUANTIZATION=int8: needs the package bitsandbytes (pip install bitsandbytes)",
    ),
    "int4 without its package": (
        {"QUANTIZATION": "int4"},
        "RERANKQ_QUANTIZATION=int4: needs the package bitsandbytes (pip install bitsandbytes)",
    ),
    "fp8 on a CPU": (
        {"QUANTIZATION": "fp8"},
        "RERANKQ_QUANTIZATION=fp8: needs a CUDA device of compute capability 8.9 or newer, not cpu",
    ),
    "fp8 spread": (
        {"QUANTIZATION": "fp8", "DEVICE_MAP": "auto"},
        "RERANKQ_QUANTIZATION=fp8: not with RERANKQ_DEVICE_MAP",
    ),
    "fp8 in another dtype": (
        {"QUANTIZATION": "fp8", "DTYPE": "float16"},
        "RERANKQ_QUANTIZATION=fp8: only with RERANKQ_DTYPE=bfloat16",
    ),
    "compiled and spread": (
        {"COMPILE": "true", "DEVICE_MAP": '{"": "cpu", "model.norm": "disk"}'},
        "RERANKQ_COMPILE: not with RERANKQ_DEVICE_MAP on several devices",
    ),
}


@pytest.mark.parametrize(("variables", "line"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_work_is_refused_in_one_line(
    folder: Path, variables: dict[str, str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(placement, "find_spec", lambda _: None)
    with pytest.raises(SettingsError) as caught:
        load(environment(folder, **variables))
    assert str(caught.value) == line


def test_weights_that_are_quantized_already_are_left_so() -> None:
    config = SimpleNamespace(quantization_config={"quant_method": "awq"})
    with pytest.raises(SettingsError) as caught:
        placement.placement(Settings(quantization="int8"), config)
    line = "RERANKQ_QUANTIZATION=int8: the model's weights are quantized already"
    assert str(caught.value) == line


def test_a_quantized_model_lies_on_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda _: True)
    settings = Settings(quantization="int4", device_map={"": "cpu", "model.norm": "disk"})
    with pytest.raises(SettingsError) as caught:
        placement.placement(settings, SimpleNamespace())
    line = "RERANKQ_QUANTIZATION=int4: RERANKQ_DEVICE_MAP may put nothing on the CPU or the disk"
    assert str(caught.value) == line


def test_an_old_gpu_has_no_fp8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A100")
    line = "A100 has compute capability 8.0; 8.9 is needed"
    assert fp8.lacking(torch.device("cuda")) == line


@pytest.mark.parametrize(
    ("device", "variable", "line"),
    [
        ("cpu", "CXX", "needs the C++ compiler 'nowhere' (or CXX)"),
        ("mps", "CXX", "not on mps"),
    ],
)
def test_compiling_needs_a_compiler(
    device: str, variable: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "nowhere")
    assert compiling.lacking(torch.device(device)) == line


def test_a_model_without_such_parts_is_not_compiled(tmp_path: Path) -> None:
    line = "RERANKQ_COMPILE: BertForSequenceClassification has no part that would gain by it"
    with pytest.raises(SettingsError) as caught:
        load(environment(make_bert(tmp_path), COMPILE="true"))
    assert str(caught.value) == line


def test_a_model_whose_files_lack_its_head_is_refused(tmp_path: Path) -> None:
    """transformers would score with a head of random numbers."""
    folder = make_bert(tmp_path)
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "classifier" not in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UnsupportedModel, match=r"lack 2 weights: classifier\.bias"):
        load(Settings(model=str(folder), device="cpu"))


def test_a_model_with_its_embeddings_on_disk_starts_and_scores_the_same(folder: Path) -> None:
    spread = {"model": "cpu", "model.embed_tokens": "disk", "lm_head": "disk"}
    engines = [
        host(Settings(model=str(folder), token_budget=2048, **options))
        for options in ({"device": "cpu"}, {"device_map": spread})
    ]
    assert "several devices" in engines[1].profile.engine
    one, other = (e.prepare(e.encode("q", None, ["some words", ""]))() for e in engines)
    assert other == pytest.approx(one, abs=1e-4)
