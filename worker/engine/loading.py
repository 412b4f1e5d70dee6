"""From a hub id or a local path to a model on its device."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.utils import logging as transformers_logging

from rerankq.errors import SettingsError
from rerankq.settings import Settings
from worker.engine.spec import Kind, kind_of

log = logging.getLogger(__name__)

_SAMPLES, _SAMPLE_BYTES = 64, 64 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model as transformers gives it, and what it was loaded as."""

    kind: Kind
    config: Any
    model: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    revision: str


def load(settings: Settings) -> Loaded:
    """Load the settings' model.

    Raises:
        UnsupportedModel: it is no reranker that we know.
        SettingsError: the device is not there.
        OSError: it cannot be found or read.
    """
    options = {
        "revision": settings.revision or "main",
        "trust_remote_code": settings.trust_remote_code,
    }
    transformers_logging.disable_progress_bar()
    device = _device(settings.device)
    dtype = _dtype(settings.dtype, device)
    config = AutoConfig.from_pretrained(settings.model, **options)
    kind = kind_of(config)
    tokenizer = AutoTokenizer.from_pretrained(settings.model, **options)
    loader = (
        AutoModelForCausalLM if kind is Kind.CAUSAL_YES_NO else AutoModelForSequenceClassification
    )
    model = loader.from_pretrained(settings.model, dtype=dtype, config=config, **options)
    model = model.to(device).eval()
    return Loaded(kind, config, model, tokenizer, device, dtype, _revision(settings.model, config))


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f"RERANKQ_DEVICE={name!r}: this machine has no CUDA device")
    return torch.device(name)


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _revision(model: str, config: Any) -> str:
    """The hub's commit; for a local path a fingerprint of its files."""
    commit = getattr(config, "_commit_hash", None)
    if commit:
        return str(commit)[:12]
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted(Path(model).glob("*")):
        if path.suffix in {".json", ".safetensors", ".bin", ".txt", ".model"}:
            digest.update(f"{path.name} {path.stat().st_size}".encode())
            _sample(path, digest)
    return f"local-{digest.hexdigest()}"


def _sample(path: Path, digest: Any) -> None:
    # Evenly spread blocks: a fine-tune changes every tensor, and 16 GB would take ten seconds.
    step = max(_SAMPLE_BYTES, path.stat().st_size // _SAMPLES)
    with path.open("rb") as file:
        for offset in range(0, path.stat().st_size, step):
            file.seek(offset)
            digest.update(file.read(_SAMPLE_BYTES))
