"""From a hub id or a local path to a model on its device."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import is_offline_mode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from rerankq.settings import Settings
from worker.engine.placement import input_device, load_placed, placement
from worker.engine.saved import Read, Saved, saved_by
from worker.engine.spec import Kind, kind_of

log = logging.getLogger(__name__)

_SAMPLES, _SAMPLE_BYTES = 64, 64 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model as transformers gives it, and what it was loaded as."""

    kind: Kind
    saved: Saved
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
        SettingsError: this machine cannot place it as the settings want.
        OSError: it cannot be found or read.
    """
    options = {
        "revision": settings.revision or "main",
        "trust_remote_code": settings.trust_remote_code,
    }
    _check_folder(settings.model)
    transformers_logging.disable_progress_bar()
    config = _config(settings.model, options)
    saved = saved_by(_reader(settings.model, settings.revision))
    kind = kind_of(config, saved, settings.trust_remote_code)
    place = placement(settings, config)
    tokenizer = AutoTokenizer.from_pretrained(settings.model, **options)
    loader = (
        AutoModelForCausalLM if kind is Kind.CAUSAL_YES_NO else AutoModelForSequenceClassification
    )
    model = load_placed(loader, settings, place, config, **options)
    revision = _revision(settings.model, config)
    device = input_device(model)
    return Loaded(kind, saved, config, model, tokenizer, device, place.dtype, revision)


def _check_folder(model: str) -> None:
    """Said here, because transformers would take a folder that is missing for a hub's id."""
    if (Path(model).is_absolute() or model.startswith((".", "~"))) and not Path(model).is_dir():
        raise FileNotFoundError("there is no such folder")


def _config(model: str, options: dict[str, Any]) -> Any:
    try:
        return AutoConfig.from_pretrained(model, **options)
    except OSError as error:
        if Path(model).is_dir():
            raise
        raise OSError(
            f"there is no such folder here, and from the hub it cannot be had: {error}"
        ) from error


def _reader(model: str, revision: str | None) -> Read:
    def read(name: str) -> Any:
        path = cached_file(
            model,
            name,
            revision=revision or "main",
            _raise_exceptions_for_missing_entries=False,
            # Offline nobody can say whether a file that is not here is anywhere; online a fault
            # of the network must not pass for its absence.
            _raise_exceptions_for_connection_errors=not is_offline_mode(),
        )
        return json.loads(Path(path).read_text("utf-8")) if path else None

    return read


def _revision(model: str, config: Any) -> str:
    """The hub's commit; for a local path a fingerprint of its files."""
    commit = getattr(config, "_commit_hash", None)
    if commit:
        return str(commit)[:12]
    digest = hashlib.blake2b(digest_size=6)
    folder = Path(model)
    for path in sorted([*folder.glob("*"), *folder.glob("*/config.json")]):
        if path.suffix in {".jinja", ".json", ".safetensors", ".bin", ".txt", ".model"}:
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
