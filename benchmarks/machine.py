"""The machine a run is on: what it is called, how many threads a contender gets, what it lacks."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


@cache
def cores() -> int:
    """Cores this process may use; every contender gets so many threads."""
    return len(os.sched_getaffinity(0))


def describe() -> str:
    found = re.search(r"^model name\s*: (.+)$", _cpuinfo(), re.MULTILINE)
    widest = next((flag for flag in ("amx_bf16", "avx512f", "avx2") if flag in _flags()), "no AVX2")
    return f"{cores()} cores of {found[1] if found else 'an unknown CPU'}, {widest}"


def bfloat16_missing() -> str | None:
    """Why bfloat16 is not worth a measurement here; None where it is."""
    if _flags() & BF16_FLAGS:
        return None
    return "bfloat16 not measured: this CPU has neither avx512_bf16 nor amx_bf16"


def environment() -> dict[str, str]:
    """What every contender's process is started with.

    How OpenMP's threads wait, how large pages are and how many shapes oneDNN keeps is each
    contender's own default: in our worker threads sleep and pages are huge, for the others they
    spin for a while and pages are small. (Importing `worker.engine` sets it for the process that
    does.)
    """
    threads = str(cores())
    ours = {
        "OMP_WAIT_POLICY",
        "THP_MEM_ALLOC_ENABLE",
        "LRU_CACHE_CAPACITY",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY",
    }
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return inherited | {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }


@cache
def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""


def _flags() -> set[str]:
    found = re.search(r"^flags\s*: (.+)$", _cpuinfo(), re.MULTILINE)
    return set(found[1].split()) if found else set()
