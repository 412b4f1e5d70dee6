"""Where a model's weights lie and in what form, and what this machine cannot do of that."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from accelerate.utils import align_module_device
from transformers import BitsAndBytesConfig

from rerankq.errors import SettingsError
from rerankq.settings import Settings
from worker.engine import fp8
from worker.engine.compiling import compile_parts
from worker.engine.spec import UnsupportedModel

# What reads the score off: as exact as the model's own file, since the engine takes rows out of
# it and a rounding there is in every score.
HEADS = ("lm_head", "score", "classifier", "head", "pooler")

_OFFLOADED = {"cpu", "disk"}
MISSING_NAMED = 3
_NOT_IN_SAFETENSORS = "needed: what RERANKQ_DEVICE_MAP puts on disk is in no safetensors file"

# bitsandbytes says at every product that its inputs become float16 first.
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Placement:
    """What was asked for, checked against this machine.

    Attributes:
        device: where the first layers compute, and the only device unless a map says otherwise.
        options: keyword arguments of `from_pretrained`.
    """

    device: torch.device
    dtype: torch.dtype
    options: dict[str, Any]


def placement(settings: Settings, config: Any) -> Placement:
    """Raises: SettingsError, with one line that names the variable."""
    device = _device(settings)
    dtype = _dtype(settings, device)
    _check_quantization(settings, config, device)
    options: dict[str, Any] = {"dtype": dtype, "device_map": {"": str(device)}}
    if settings.device_map is not None:
        options["device_map"] = settings.device_map
    if settings.offload_dir is not None:
        options["offload_folder"] = str(_writable(settings))
    if settings.quantization in ("int8", "int4"):
        options["quantization_config"] = _bitsandbytes(settings.quantization, dtype)
    if settings.quantization == "fp8":
        # Made smaller on its way to the device, which never holds the large form.
        options["device_map"] = {"": "cpu"}
    return Placement(device, dtype, options)


def load_placed(
    loader: Any, settings: Settings, place: Placement, config: Any, **options: Any
) -> Any:
    """A model for scoring, by `loader.from_pretrained`.

    Raises:
        SettingsError: it cannot be placed like this.
        UnsupportedModel: its files lack weights.
        OSError: it cannot be found or read.
    """
    placed = dict(place.options)
    if isinstance(settings.device_map, dict):
        with torch.device("meta"):
            skeleton = loader.from_config(config, trust_remote_code=settings.trust_remote_code)
        placed["device_map"] = _disjoint(settings.device_map, skeleton)
    try:
        model, info = loader.from_pretrained(
            settings.model, config=config, output_loading_info=True, **placed, **options
        )
    except (ValueError, RuntimeError, ImportError) as error:
        asked = _asked(settings)
        if not asked or isinstance(error, SettingsError):
            raise
        if "offload_folder" in str(error):
            asked, error = "RERANKQ_OFFLOAD_DIR", ValueError(_NOT_IN_SAFETENSORS)
        raise SettingsError(f"{asked}: {' '.join(str(error).split())}") from None
    if missing := sorted(info["missing_keys"]):
        # transformers fills them at random, and says so in a warning.
        some = ", ".join(missing[:MISSING_NAMED])
        raise UnsupportedModel(f"the model's files lack {len(missing)} weights: {some}")
    model.eval()
    if settings.quantization == "fp8":
        fp8.convert(model, place.device, keep=HEADS)
        model.to(place.device)
    _return_to_the_inputs(model)
    if settings.compile:
        if not whole(model):
            raise SettingsError("RERANKQ_COMPILE: not with RERANKQ_DEVICE_MAP on several devices")
        compile_parts(model, place.device)
    return model


def input_device(model: Any) -> torch.device:
    """Where a batch must lie when it is given to the model."""
    embeddings = model.get_input_embeddings()
    hook = getattr(embeddings, "_hf_hook", None)
    if hook is not None and hook.execution_device is not None:
        return torch.device(hook.execution_device)
    device: torch.device = embeddings.weight.device
    return device


def whole(model: Any) -> bool:
    """Every weight lies on one device for good, so that modules may be replaced and read."""
    devices = {parameter.device for parameter in model.parameters()}
    return (
        len(devices) == 1
        and devices != {torch.device("meta")}
        and not any(hasattr(module, "_hf_hook") for module in model.modules())
    )


def of_transformers(model: Any) -> bool:
    """Its code is transformers' own, and not what came with the model."""
    return type(model).__module__.startswith("transformers.")


def unquantized(model: Any) -> bool:
    """Whole, and its linear layers hold what the file held, unquantized."""
    quantized = getattr(model, "is_quantized", False) or any(
        isinstance(module, fp8.Fp8Linear) for module in model.modules()
    )
    return whole(model) and not quantized


def head_rows(model: Any, tokens: Sequence[int]) -> torch.Tensor:
    """Rows of the output embeddings, shape (tokens, hidden), float32, on the inputs' device.

    Read from the CPU or the disk where the head was put there.
    """
    head = model.get_output_embeddings()
    with align_module_device(head):
        rows: torch.Tensor = head.weight[list(tokens)].detach().float()
    return rows.to(input_device(model))


def _device(settings: Settings) -> torch.device:
    cuda = torch.cuda.is_available()
    if settings.device_map is not None:
        if settings.device != "auto":
            raise SettingsError(
                f"RERANKQ_DEVICE={settings.device!r}: not with RERANKQ_DEVICE_MAP, which names "
                "the devices"
            )
        return _main_device(settings.device_map)
    if settings.offload_dir is not None:
        raise SettingsError("RERANKQ_OFFLOAD_DIR: only with RERANKQ_DEVICE_MAP")
    if settings.device == "auto":
        return torch.device("cuda" if cuda else "cpu")
    device = torch.device(settings.device)
    if device.type == "cuda" and not cuda:
        raise SettingsError(f"RERANKQ_DEVICE={settings.device!r}: this machine has no CUDA device")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"RERANKQ_DEVICE={settings.device!r}: this machine has "
            f"{torch.cuda.device_count()} CUDA devices"
        )
    return device


def _main_device(given: str | dict[str, int | str]) -> torch.device:
    if isinstance(given, str):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    computing = [device for device in given.values() if device not in _OFFLOADED]
    for device in computing:
        if not _is_there(device):
            raise SettingsError(f"RERANKQ_DEVICE_MAP: this machine has no device {device!r}")
    return torch.device(computing[0] if computing else "cpu")


def _is_there(device: int | str) -> bool:
    try:
        found = torch.device(device)
    except RuntimeError:
        return False
    if isinstance(device, int) or found.type == "cuda":
        return (found.index or 0) < torch.cuda.device_count()
    return found.type == "mps" and torch.backends.mps.is_available()


def _dtype(settings: Settings, device: torch.device) -> torch.dtype:
    if settings.dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, settings.dtype)
    return dtype


def _check_quantization(settings: Settings, config: Any, device: torch.device) -> None:
    wanted = settings.quantization
    if wanted == "none":
        return
    asked = f"RERANKQ_QUANTIZATION={wanted}"
    existing = getattr(config, "quantization_config", None)
    if existing is not None:
        raise SettingsError(f"{asked}: the model's weights are quantized already")
    if wanted == "fp8":
        if settings.device_map is not None:
            raise SettingsError(f"{asked}: not with RERANKQ_DEVICE_MAP")
        if settings.dtype not in ("auto", "bfloat16"):
            raise SettingsError(f"{asked}: only with RERANKQ_DTYPE=bfloat16")
        if lack := fp8.lacking(device):
            raise SettingsError(f"{asked}: {lack}")
        return
    if find_spec("bitsandbytes") is None:
        raise SettingsError(f"{asked}: needs the package bitsandbytes (pip install bitsandbytes)")
    given = settings.device_map
    if isinstance(given, dict) and _OFFLOADED & {*given.values()} and {*given.values()} != {"cpu"}:
        raise SettingsError(f"{asked}: RERANKQ_DEVICE_MAP may put nothing on the CPU or the disk")


def _bitsandbytes(wanted: str, dtype: torch.dtype) -> Any:
    kept = [rf"(.*\.)?{name}" for name in HEADS]
    if wanted == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=kept,
    )


def _writable(settings: Settings) -> Path:
    folder = Path(settings.offload_dir or "")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise SettingsError(f"RERANKQ_OFFLOAD_DIR={str(folder)!r}: {error.strerror}") from None


def _disjoint(given: dict[str, int | str], model: torch.nn.Module) -> dict[str, int | str]:
    """The same map with no key inside another, which is what accelerate can follow.

    Raises:
        SettingsError: a key fits nothing (accelerate would ignore it), or a weight has no device.
    """
    known = {"", *(name for name, _ in model.named_modules())}
    for name in given:
        if name not in known:
            raise SettingsError(f"RERANKQ_DEVICE_MAP: the model has no module {name!r}")
    found: dict[str, int | str] = {}

    def walk(name: str, module: torch.nn.Module, device: int | str | None) -> None:
        device = given.get(name, device)
        inside = f"{name}." if name else ""
        if device is not None and not any(k != name and k.startswith(inside) for k in given):
            found[name] = device
            return
        for part, child in module.named_children():
            walk(inside + part, child, device)
        for part, _ in [*module.named_parameters(recurse=False)]:
            if device is None:
                raise SettingsError(f"RERANKQ_DEVICE_MAP: names no device for {inside + part!r}")
            found[inside + part] = device

    walk("", model, None)
    return found


def _asked(settings: Settings) -> str:
    if settings.device_map is not None:
        return "RERANKQ_DEVICE_MAP"
    if settings.quantization != "none":
        return f"RERANKQ_QUANTIZATION={settings.quantization}"
    return ""


def _return_to_the_inputs(model: Any) -> None:
    # accelerate does so for the whole model, not for the part below the head, which is what the
    # engine calls where it needs one row of the head.
    if not hasattr(model, "_hf_hook") or model.base_model is model:
        return
    hook = AlignDevicesHook(execution_device=input_device(model), io_same_device=True)
    add_hook_to_module(model.base_model, hook, append=True)
