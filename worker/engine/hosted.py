"""The engine: a transformers model behind the worker's interface."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch

from rerankq.settings import Settings
from worker.engine import budget
from worker.engine.batch import Batch, Forward
from worker.engine.choice import choose
from worker.engine.interface import EngineBroken, Launch, OutOfMemory, Pair, Profile
from worker.engine.loading import Loaded, load
from worker.engine.parts import Parts, parts_of

log = logging.getLogger(__name__)


class HostedEngine:
    """Implements `Engine`; see there."""

    def __init__(self, loaded: Loaded, parts: Parts, settings: Settings) -> None:
        self._parts = parts
        self._device = loaded.device
        self._vocabulary = loaded.model.get_input_embeddings().num_embeddings
        samples = self._samples()
        chosen = choose(loaded.model, parts, samples, settings.attention)
        self._forward: Forward = chosen.forward
        layout = chosen.forward.layout
        self.profile = Profile(
            model=settings.model,
            revision=loaded.revision,
            template=parts.template.name,
            score_space=parts.score_space,
            instruction=parts.template.takes_instruction,
            max_length=parts.limits.pair,
            dtype=str(loaded.dtype).removeprefix("torch."),
            device=str(loaded.device),
            layout=layout,
            token_budget=settings.token_budget
            or budget.measure(self._try, samples[0], layout, loaded.device),
            engine="; ".join(chosen.reasons),
        )

    def encode(self, query: str, instruction: str | None, documents: Sequence[str]) -> list[Pair]:
        return self._parts.template.encode(query, instruction, documents, self._parts.limits)

    def prepare(self, pairs: Sequence[Pair]) -> Launch:
        batch = self._forward.collate(pairs)
        # On a GPU an id out of range would end the process, not the batch.
        if int(batch.tensors["input_ids"].max()) >= self._vocabulary:
            raise ValueError("a token id is outside the model's vocabulary")
        if self._device.type == "cuda":
            batch = batch.pinned()
        return lambda: self._score(batch)

    @torch.inference_mode()
    def _score(self, batch: Batch) -> list[float]:
        try:
            scores: list[float] = self._forward(batch.to(self._device)).tolist()
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

    def _try(self, pairs: Sequence[Pair]) -> list[float]:
        return self.prepare(pairs)()

    def _samples(self) -> list[Pair]:
        """Pairs of several lengths, some of which share a prefix; the longest is cut if need be."""
        documents = ["", "a short one", "some words more, " * 12, "and many, many words " * 80]
        return self.encode("what is sampled?", None, documents) + self.encode(
            "another query", None, documents[1:3]
        )


def host(settings: Settings) -> HostedEngine:
    """Load the model and find its fastest pass, which scores a few pairs: nobody's job pays for it.

    Raises:
        UnsupportedModel, OSError: see `load`.
        SelfTestFailed, SettingsError: see `choose`.
    """
    started = time.perf_counter()
    loaded = load(settings)
    engine = HostedEngine(loaded, parts_of(loaded, settings), settings)
    fields = {"load_s": round(time.perf_counter() - started, 2), "profile": str(engine.profile)}
    log.info("model loaded", extra=fields)
    return engine
