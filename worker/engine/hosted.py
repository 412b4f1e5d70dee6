"""The engine: a transformers model behind the worker's interface."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch

from rerankq.settings import Settings
from worker.engine.interface import EngineBroken, Launch, Layout, OutOfMemory, Pair, Profile
from worker.engine.loading import Loaded, load
from worker.engine.padded import CausalForward, ClassifierForward, Forward, Inputs
from worker.engine.parts import Parts, parts_of
from worker.engine.templates import Limits

log = logging.getLogger(__name__)

CPU_TOKEN_BUDGET = 2_048
CUDA_TOKEN_BUDGET = 16_384


class HostedEngine:
    """Implements `Engine`; see there."""

    def __init__(self, loaded: Loaded, settings: Settings) -> None:
        parts = parts_of(loaded, settings)
        self._template, self._forward = parts.template, _forward(loaded, parts)
        self._device = loaded.device
        self._vocabulary = loaded.model.get_input_embeddings().num_embeddings
        self._limits = Limits(parts.max_length, settings.max_query_tokens)
        on_gpu = loaded.device.type == "cuda"
        self.profile = Profile(
            model=settings.model,
            revision=loaded.revision,
            template=self._template.name,
            score_space=parts.score_space,
            instruction=self._template.takes_instruction,
            max_length=self._limits.pair,
            dtype=str(loaded.dtype).removeprefix("torch."),
            device=str(loaded.device),
            layout=Layout.PADDED,
            token_budget=settings.token_budget
            or (CUDA_TOKEN_BUDGET if on_gpu else CPU_TOKEN_BUDGET),
        )

    def encode(self, query: str, instruction: str | None, documents: Sequence[str]) -> list[Pair]:
        return self._template.encode(query, instruction, documents, self._limits)

    def prepare(self, pairs: Sequence[Pair]) -> Launch:
        inputs = self._forward.collate(pairs)
        # On a GPU an id out of range would end the process, not the batch.
        if int(inputs["input_ids"].max()) >= self._vocabulary:
            raise ValueError("a token id is outside the model's vocabulary")
        if self._device.type == "cuda":
            inputs = {name: tensor.pin_memory() for name, tensor in inputs.items()}
        return lambda: self._score(inputs)

    @torch.inference_mode()
    def _score(self, inputs: Inputs) -> list[float]:
        try:
            moved = {
                name: tensor.to(self._device, non_blocking=True) for name, tensor in inputs.items()
            }
            scores: list[float] = self._forward(moved).tolist()
            return scores
        except torch.OutOfMemoryError as error:
            reason = str(error)
        except torch.AcceleratorError as error:
            # An assert or an illegal access on the device poisons its whole context.
            raise EngineBroken(str(error)) from None
        # Out here, where no traceback holds the batch's tensors any more.
        torch.cuda.empty_cache()
        raise OutOfMemory(reason)

    def memory(self) -> dict[str, int]:
        if self._device.type != "cuda":
            return {}
        free, total = torch.cuda.mem_get_info(self._device)
        return {
            "allocated": torch.cuda.memory_allocated(self._device),
            "reserved": torch.cuda.memory_reserved(self._device),
            "free": free,
            "total": total,
        }


def host(settings: Settings) -> HostedEngine:
    """Load the model and score a first pair, so that nobody's job pays for either.

    Raises:
        UnsupportedModel, OSError: see `load`.
    """
    started = time.perf_counter()
    engine = HostedEngine(load(settings), settings)
    engine.prepare(engine.encode("warm-up", None, ["one", "two " * 100]))()
    fields = {"load_s": round(time.perf_counter() - started, 2), "profile": str(engine.profile)}
    log.info("model loaded", extra=fields)
    return engine


def _forward(loaded: Loaded, parts: Parts) -> Forward:
    if parts.head is not None:
        return CausalForward(loaded.model, parts.head)
    return ClassifierForward(loaded.model, parts.pad, parts.types)
