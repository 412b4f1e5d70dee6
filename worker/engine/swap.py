"""Parts of a model replaced by faster ones that do the same, where this machine gains by it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from worker.engine.linears import (
    FusedGated,
    FusedIntermediate,
    InPlaceGated,
    PackedGated,
    PackedIntermediate,
    PackedLinear,
)
from worker.engine.norms import LeanRMSNorm
from worker.engine.trial import least_times, preferred

log = logging.getLogger(__name__)

MOST_ROWS, LEAST_ROWS = 1_024, 64  # tokens of the trial input
TRIAL_PRODUCTS = 250_000_000  # of each run: some milliseconds
ROUNDS = 11
GAIN = 1.03  # times as fast another must be: packed weights lie in memory twice while they are made
# Relative to the largest output: what changing the order of the sums may do.
AGREE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}

Build = Callable[[Any], nn.Module]
Builds = Sequence[Build | None]  # None: the part as it is


@dataclass(frozen=True, slots=True)
class Swapped:
    """A part of a model that was replaced."""

    parent: nn.Module
    name: str
    before: nn.Module
    now: nn.Module

    def undo(self) -> None:
        setattr(self.parent, self.name, self.before)


def swap(model: nn.Module, dtype: torch.dtype) -> list[Swapped]:
    """Replace what is faster otherwise, in place.

    Parts of equal shape are tried once, on random input, in turn with the plain one.
    """
    chosen: dict[tuple[object, ...], Build | None] = {}
    swapped = []
    for parent, name, part, builds in list(_candidates(model)):
        key = _shape(part)
        if key not in chosen:
            chosen[key] = _fastest(part, builds, dtype)
        build = chosen[key]
        if build is not None:
            swapped.append(Swapped(parent, name, part, build(part)))
            setattr(parent, name, swapped[-1].now)
    return swapped


def _candidates(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module, Builds]]:
    for name, part in module.named_children():
        builds: Builds = ()
        if type(part) is nn.Linear:  # not one that is quantized
            builds = (None, PackedLinear)
        elif InPlaceGated.fits(part):
            builds = (InPlaceGated, None, PackedGated, FusedGated)
        elif FusedIntermediate.fits(part):
            builds = (None, PackedIntermediate, FusedIntermediate)
        elif LeanRMSNorm.fits(part):
            builds = (LeanRMSNorm, None)
        if builds:
            yield module, name, part, builds
        else:
            yield from _candidates(part)


def _width(part: Any) -> int:
    """Of what it takes in."""
    linears = [m.in_features for m in part.modules() if isinstance(m, nn.Linear)]
    return linears[0] if linears else len(part.weight)


def _shape(part: nn.Module) -> tuple[object, ...]:
    return (type(part), *(tuple(p.shape) for p in part.parameters()))


def _fastest(part: nn.Module, builds: Builds, dtype: torch.dtype) -> Build | None:
    """The first that no other beats by enough.

    Args:
        builds: those that cost nothing first, then those with weights of their own.
    """
    weights = sum(parameter.numel() for parameter in part.parameters())
    rows = max(LEAST_ROWS, min(MOST_ROWS, TRIAL_PRODUCTS // weights))
    states = torch.randn(
        1, rows, _width(part), dtype=dtype, generator=torch.Generator().manual_seed(0)
    )
    expected = part(states)
    tried: list[tuple[Build | None, nn.Module]] = []
    for build in builds:
        if build is None:
            tried.append((None, part))
            continue
        try:
            other = build(part)
            difference = (other(states) - expected).abs().max() / expected.abs().max()
        except (RuntimeError, AttributeError, NotImplementedError) as error:
            log.debug("kernel not usable", extra={"kind": build.__name__, "reason": str(error)})
            continue
        if difference <= AGREE.get(dtype, 0):
            tried.append((build, other))
    times = least_times([partial(module, states) for _, module in tried], ROUNDS)
    return tried[preferred(times, GAIN)][0]
