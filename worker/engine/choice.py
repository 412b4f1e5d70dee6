"""Which forward pass a model gets on this machine: the fastest that agrees with the plain one."""

from __future__ import annotations

import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rerankq.errors import SettingsError
from worker.engine import attention, fused, kernels, lastlayer, placement, swap
from worker.engine.batch import Forward
from worker.engine.heads import row_of, row_of_classifier
from worker.engine.interface import Pair
from worker.engine.packed import CAUSAL, PackedCausal, PackedClassifier, can_pack
from worker.engine.padded import PaddedCausal, PaddedClassifier
from worker.engine.parts import Parts
from worker.engine.spec import UnsupportedModel
from worker.engine.trial import least_times, preferred

log = logging.getLogger(__name__)

# In log-odds, relative to those above 1: the order of the sums in float32, and what rounding every
# state to 11 or 8 bits leaves.
AGREE = {"float32": 1e-4, "float16": 0.05, "bfloat16": 0.3}
WORTH_SAYING = 1.2  # times as fast
ROUNDS, GAIN = 3, 1.03


@torch.no_grad()
def choose(
    model: Any, device: torch.device, parts: Parts, samples: Sequence[Pair], wanted: str
) -> Choice:
    """The fastest pass for this model, in steps, each checked on the sample pairs.

    Args:
        device: where batches are given to the model.
        wanted: `auto`, `packed` (or refuse to start) or `padded`.

    Raises:
        SettingsError: `packed` is wanted and cannot be.
        UnsupportedModel: the plain pass gives no finite scores.
    """
    choice = Choice(model, device, padded_pass(model, parts), samples)
    if wanted == "padded":
        choice.reasons.append("padded: as set")
    elif choice.pack(partial(packed_pass, model, parts)):
        if device.type != "cuda" or not choice.fuse(partial(fused.passes, device)):
            choice.trim()
    elif wanted == "packed":
        raise SettingsError(f"RERANKQ_ATTENTION='packed': {'; '.join(choice.reasons)}")
    if device.type == "cpu" and placement.unquantized(model):
        choice.swap()
        if model.dtype == torch.float32 and (gain := bfloat16_gain()) > WORTH_SAYING:
            choice.reasons.append(f"bfloat16 would multiply {gain:.1f} times as fast")
    return choice


class Choice:
    """Steps from the plain pass to faster ones, each kept only if the sample pairs' scores stay.

    Args:
        padded: the plain pass, of the untouched model; its scores are what the others are held to.
        samples: pairs of several lengths, some of which share a prefix.

    Attributes:
        forward: the fastest so far.
        reasons: in a few words, what it is and why it is not more.
    """

    def __init__(
        self, model: Any, device: torch.device, padded: Forward, samples: Sequence[Pair]
    ) -> None:
        self._model = model
        self._device = device
        self._samples = samples
        self._expected = scores(padded, samples, device)
        if not self._expected.isfinite().all():
            raise UnsupportedModel("its scores are no finite numbers: the weights are damaged")
        self._allowed = AGREE[str(model.dtype).removeprefix("torch.")]
        if not placement.unquantized(model):
            # Inputs are rounded by what lies beside them, too.
            self._allowed = max(AGREE.values())
        self.forward = padded
        self.reasons: list[str] = []

    def pack(self, packed: Callable[[kernels.Kernels], Forward]) -> bool:
        """Pack if the model's kind is known and the device can; whether that was done.

        Args:
            packed: makes the pass for these kernels.
        """
        model = self._model
        if refusal := _refusal(model):
            self.reasons.append(refusal)
            return False
        plain = model.config._attn_implementation
        found = _kernels(model) if model.device.type == "cpu" else kernels.Kernels()
        model.set_attn_implementation(attention.NAME)
        forward = packed(found)
        if difference := self._difference(forward):
            self.reasons.append(f"padded: packed, {difference}")
            model.set_attn_implementation(plain)
            return False
        self.forward = forward
        self.reasons.append("packed" if model.device.type == "cuda" else f"packed, {found}")
        return True

    def fuse(self, found: Callable[[], fused.Passes]) -> bool:
        """Fuse what lies between the layers' products; whether that was done. Only when packed.

        Args:
            found: gives what computes it.
        """
        plain = list(layers_of(self._model))
        if not placement.unquantized(self._model) or not all(map(fused.FusedDecoder.fits, plain)):
            self.reasons.append(f"layers not fused: this {type(plain[0]).__name__} is not known")
            return False
        try:
            built = fused.build(plain, found())
        except (SettingsError, ImportError, torch.OutOfMemoryError) as error:
            self._not_fused(str(error).splitlines()[0])
            return False
        self._take(built)
        if difference := self._difference(self.forward):
            self._not_fused(f"fused, {difference}")
            self._take(plain)
            return False
        runs = [partial(self._timed, layers) for layers in (plain, built)]
        if preferred(least_times(runs, ROUNDS), GAIN) == 0:
            self.reasons.append("layers not fused: no gain")
            self._take(plain)
            return False
        self.reasons.append("layers fused")
        return True

    def _not_fused(self, reason: str) -> None:
        self.reasons.append(f"layers not fused: {reason}")
        log.warning("layers not fused", extra={"reason": reason})

    def _timed(self, layers: Sequence[nn.Module]) -> None:
        self._take(layers)
        scores(self.forward, self._samples, self._device)

    def _take(self, layers: Sequence[nn.Module]) -> None:
        place = layers_of(self._model)
        for index, layer in enumerate(layers):
            place[index] = layer

    def trim(self) -> None:
        """Compute the last layer for the scored tokens alone. Only when packed."""
        layers = layers_of(self._model)
        last = layers[-1]
        trimmed = lastlayer.trimmed(last)
        if trimmed is None:
            self.reasons.append(f"last layer whole: {type(last).__name__} is not known")
            return
        layers[-1] = trimmed
        if difference := self._difference(self.forward):
            self.reasons.append(f"last layer whole: trimmed, {difference}")
            layers[-1] = last
            return
        self.reasons.append("last layer trimmed")

    def swap(self) -> None:
        """Replace linears and what is around them by what is faster. Only on the CPU.

        For a moment both are there, so not where memory would run out.
        """
        weights = sum(p.numel() * p.element_size() for p in self._model.parameters())
        if weights > available_memory():
            self.reasons.append("plain linears: no memory to hold them twice")
            return
        swapped = swap.swap(self._model.base_model, self._model.dtype)
        if difference := self._difference(self.forward):
            for part in swapped:
                part.undo()
            self.reasons.append(f"plain linears: swapped, {difference}")
            return
        counts = Counter(type(part.now).__name__ for part in swapped)
        parts = ", ".join(f"{count} {kind}" for kind, count in counts.items())
        self.reasons.append(parts or "plain linears")

    def _difference(self, forward: Forward) -> str:
        """What is wrong with the samples' scores, in words; empty if nothing is."""
        try:
            found = scores(forward, self._samples, self._device)
        except Exception as error:  # whatever a kernel or a foreign model's code raises
            log.debug("self-test", exc_info=error)
            return f"it fails: {' '.join(str(error).split())[:200]}"
        off = ((found - self._expected).abs() / self._expected.abs().clamp(min=1)).max().item()
        # Written so that a score that is no number disagrees.
        return "" if off <= self._allowed else f"its scores are off by {off:.1e}"


def available_memory() -> int:
    """Bytes this machine has left, as Linux estimates it, or its container, whichever is less;
    elsewhere as much as one likes."""
    path = Path("/proc/meminfo")
    text = path.read_text() if path.exists() else ""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    machine = int(found[1]) * 1024 if found else sys.maxsize
    return min(machine, _left_of_container(Path("/sys/fs/cgroup")))


def _left_of_container(group: Path) -> int:
    """By the limit that a container's (version 2) control group shows within it."""
    try:
        limit, used = ((group / f"memory.{what}").read_text() for what in ("max", "current"))
    except OSError:
        return sys.maxsize
    return sys.maxsize if limit.strip() == "max" else max(0, int(limit) - int(used))


def padded_pass(model: Any, parts: Parts) -> Forward:
    if parts.head is not None:
        return PaddedCausal(model, parts.head)
    return PaddedClassifier(model, parts.pad, parts.types)


def packed_pass(model: Any, parts: Parts, found: kernels.Kernels) -> Forward:
    on_gpu = model.device.type == "cuda"
    if model.config.model_type in CAUSAL:
        row = row_of(model, parts.head) if parts.head else row_of_classifier(model)
        return PackedCausal(model, row, found, on_gpu=on_gpu)
    return PackedClassifier(model, parts.types, found, on_gpu=on_gpu)


def scores(forward: Forward, pairs: Sequence[Pair], device: torch.device) -> torch.Tensor:
    """Log-odds, shape (pairs,), float32, on the CPU."""
    with torch.inference_mode():
        return forward(forward.collate(pairs).to(device)).cpu()


def layers_of(model: Any) -> nn.ModuleList:
    base = model.base_model
    layers: nn.ModuleList = base.layers if hasattr(base, "layers") else base.encoder.layer
    return layers


def bfloat16_gain() -> float:
    """How many times as fast as in float32 this processor multiplies in bfloat16.

    Said, not acted on: a default must not make scores depend on the processor.
    """
    runs = []
    for dtype in (torch.float32, torch.bfloat16):
        states, weight = torch.ones(64, 256, dtype=dtype), torch.ones(256, 512, dtype=dtype)
        runs.append(partial(torch.mm, states, weight))
    in_float32, in_bfloat16 = least_times(runs, 3)
    return in_float32 / in_bfloat16


def _refusal(model: Any) -> str:
    device = model.device.type
    if not placement.whole(model):
        return "padded: the model lies on several devices"
    if not placement.of_transformers(model):
        return "padded: the model brings code of its own"
    if not can_pack(model.config):
        return f"padded: {model.config.model_type} is not known to be safe to pack"
    if device == "cuda" and model.dtype not in {torch.float16, torch.bfloat16}:
        return "padded: CUDA's packed attention takes float16 and bfloat16"
    if device not in {"cpu", "cuda"}:
        return f"padded: no packed attention on {device}"
    return ""


def _kernels(model: Any) -> kernels.Kernels:
    config = model.config
    heads = config.num_attention_heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    causal = config.model_type in CAUSAL
    return kernels.fastest(heads, groups, width, causal=causal)
