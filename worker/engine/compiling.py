"""torch.compile for the parts of a model that gain by it whatever attention runs between them."""

from __future__ import annotations

import logging
import os
import shutil
import time
from importlib.util import find_spec
from typing import Any

import torch

from rerankq.errors import SettingsError

log = logging.getLogger(__name__)

# By the ends of their class names, which transformers keeps the same for all its models. Several
# elementwise kernels each, of which compiling makes one. Not the whole model: what attention is
# given of a batch (lengths, prefixes) would be compiled in and compiled anew for each of its sizes.
PARTS = ("RMSNorm", "MLP")


def lacking(device: torch.device) -> str:
    """What is missing to compile, in words; empty if nothing is."""
    if device.type == "cuda":
        if find_spec("triton") is None:
            return "needs the package triton"
        if not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
            return "needs a C compiler (gcc, clang, or what CC names)"
        return ""
    if device.type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        return "" if shutil.which(compiler) else f"needs the C++ compiler {compiler!r} (or CXX)"
    return f"not on {device.type}"


def compile_parts(model: Any, device: torch.device) -> None:
    """Compile the norms and the gated products of a model, in place, and run them once.

    Raises:
        SettingsError: nothing here can be compiled.
    """
    if lack := lacking(device):
        raise SettingsError(f"RERANKQ_COMPILE: {lack}")
    parts = [m for m in model.base_model.modules() if type(m).__name__.endswith(PARTS)]
    if not parts:
        kind = type(model).__name__
        raise SettingsError(f"RERANKQ_COMPILE: {kind} has no part that would gain by it")
    for part in parts:
        part.compile(dynamic=True)
    started = time.perf_counter()
    _run_once(model, device)
    fields = {
        "parts": sorted({type(part).__name__ for part in parts}),
        "seconds": round(time.perf_counter() - started, 1),
    }
    log.info("compiled", extra=fields)
    if device.type == "cpu":
        log.warning("RERANKQ_COMPILE: on a CPU it gains a few per cent at most")


@torch.inference_mode()
def _run_once(model: Any, device: torch.device) -> None:
    # A size of one is compiled for itself; all others share what is compiled for two.
    for rows in (1, 2):
        model.base_model(input_ids=torch.ones((rows, 8), dtype=torch.long, device=device))
