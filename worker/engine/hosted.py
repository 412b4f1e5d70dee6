"""The engine: a transformers model behind the worker's interface."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from rerankq.settings import Settings
from worker.engine import budget, golden, lanes, placement
from worker.engine.batch import Batch
from worker.engine.choice import choose
from worker.engine.interface import EngineBroken, Launch, OutOfMemory, Pair, Profile
from worker.engine.lanes import Lanes, SideBySide
from worker.engine.loading import Loaded, load
from worker.engine.parts import Parts, parts_of
from worker.engine.templates import Limits
from worker.engine.trial import least_times, preferred
from worker.planner import spread

log = logging.getLogger(__name__)
T = TypeVar("T")
Order = Sequence[Sequence[int]]  # which of the pairs each part has, as indexes

TRIAL_TOKENS, TRIALS = 2_048, 3
HOPELESS = 3.0  # times as long; on a busy machine a pass over all cores may take seconds
# How allocators say it that have no error of their own: the CPU's, cuBLAS's.
NO_MEMORY = ("can't allocate memory", "ALLOC_FAILED")
# What the later of two ways must win: in batches larger than the trial's the first gains more.
GAIN = 1.08


class HostedEngine:
    """Implements `Engine`; see there."""

    def __init__(self, loaded: Loaded, parts: Parts, settings: Settings) -> None:
        self._template = parts.template
        self._limits = Limits(parts.max_length, settings.max_query_tokens)
        self._device = loaded.device
        self._vocabulary = loaded.model.get_input_embeddings().num_embeddings
        cores = torch.get_num_threads()
        torch.set_num_threads(1)  # for the trials: where cores wait for each other, noise decides
        samples = self._samples()
        chosen = choose(loaded.model, loaded.device, parts, samples, settings.attention)
        self._forward = chosen.forward
        ways = lanes.possible(
            loaded.device, cores, own_code=not placement.of_transformers(loaded.model)
        )
        self._lanes = self._fastest(ways, samples[0])
        self.profile = Profile(
            model=settings.model,
            revision=loaded.revision,
            template=parts.template.name,
            score_space=parts.score_space,
            instruction=parts.template.takes_instruction,
            max_length=parts.max_length,
            dtype=_precision(loaded, settings),
            device=str(loaded.device),
            layout=chosen.forward.layout,
            token_budget=settings.token_budget or self._measured_budget(samples[0]),
            engine="; ".join([*chosen.reasons, str(self._lanes)]),
        )

    def _fastest(self, ways: Sequence[Lanes], sample: Pair) -> Lanes:
        if len(ways) == 1:
            return ways[0]
        pairs = budget.batch(sample, TRIAL_TOKENS, self._forward.layout)
        runs = []
        for way in ways:
            self._lanes = way
            runs.append(self.prepare(pairs))
        return ways[preferred(least_times(runs, TRIALS, HOPELESS), GAIN)]

    def _measured_budget(self, sample: Pair) -> int:
        def score(pairs: Sequence[Pair]) -> None:
            self.prepare(pairs)()

        return budget.measure(score, sample, self._forward.layout, self._device)

    def encode(
        self,
        query: str,
        instruction: str | None,
        documents: Sequence[str],
        document_tokens: int | None = None,
    ) -> list[Pair]:
        limits = replace(self._limits, document=document_tokens)
        return self._template.encode(query, instruction, documents, limits)

    def prepare(self, pairs: Sequence[Pair]) -> Launch:
        # A few long pairs side by side would leave most cores idle.
        lanes_used = self._lanes.count if 2 * len(pairs) >= self._lanes.count else 1
        parts = spread(pairs, lanes_used, self._forward.layout)
        batches = [self._forward.collate([pairs[i] for i in part]) for part in parts]
        # On a GPU an id out of range would end the process, not the batch.
        if max(int(b.tensors["input_ids"].max()) for b in batches) >= self._vocabulary:
            raise ValueError("a token id is outside the model's vocabulary")
        if self._device.type == "cuda":
            (batch,) = batches
            return self._on_gpu(parts, batch.pinned())
        return self._on_cpu(self._lanes, parts, batches)

    def _on_gpu(self, order: Order, batch: Batch) -> Launch:
        def start() -> Callable[[], list[float]]:
            return partial(_in_order, order, self._started(batch))

        return Launch(start, works_by_itself=True)

    def _on_cpu(self, way: Lanes, order: Order, batches: Sequence[Batch]) -> Launch:
        parts = [partial(self._guarded, partial(self._scored, batch)) for batch in batches]
        if len(parts) == 1:
            return Launch(lambda: partial(_in_order, order, lambda: [way.together(parts[0])]))
        running = SideBySide(way, parts)

        def start() -> Callable[[], list[float]]:
            return partial(_in_order, order, running.start())

        return Launch(start, until_room=running.until_room)

    def _started(self, batch: Batch) -> Callable[[], list[list[float]]]:
        """Its scores are on their way when this returns; the result waits for them."""

        def start() -> tuple[Tensor, torch.cuda.Event]:
            scores = self._forward(batch.to(self._device))
            # On its way at once: later it would come after the next batch.
            found = scores.to("cpu", non_blocking=True)
            return found, torch.cuda.current_stream(scores.device).record_event()

        found, arrived = self._guarded(start)

        def wait() -> list[list[float]]:
            self._guarded(arrived.synchronize)
            return [found.tolist()]

        return wait

    def _scored(self, batch: Batch) -> list[float]:
        scores: list[float] = self._forward(batch.to(self._device)).tolist()
        return scores

    @torch.inference_mode()
    def _guarded(self, run: Callable[[], T]) -> T:
        """What it returns, its errors as the interface has them."""
        try:
            return run()
        except torch.OutOfMemoryError as error:
            reason = str(error)
        except torch.AcceleratorError as error:
            # An assert or an illegal access on the device poisons its whole context.
            raise EngineBroken(str(error)) from None
        except RuntimeError as error:
            if not any(words in str(error) for words in NO_MEMORY):
                raise
            reason = str(error)
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

    def _samples(self) -> list[Pair]:
        """Pairs of several lengths, some of which share a prefix; the longest, the first, is cut
        if need be."""
        documents = ["and many, many words " * 80, "a short one", "some words more, " * 12, ""]
        limits = Limits(self._limits.pair, query=0)  # an operator's limit is for callers
        return [
            pair
            for query, of_query in (("what is sampled?", documents), ("another", documents[1:3]))
            for pair in self._template.encode(query, None, of_query, limits)
        ]


def host(settings: Settings) -> HostedEngine:
    """Load the model and find its fastest pass, which scores a few pairs: nobody's job pays for it.

    Raises:
        UnsupportedModel, OSError: see `load`.
        SettingsError: see `choose`.
        SelfTestFailed: see `golden`.
    """
    started = time.perf_counter()
    loaded = load(settings)
    engine = HostedEngine(loaded, parts_of(loaded, settings), settings)
    if settings.quantization == "none":
        golden.check(settings.model, engine)
    fields = {"load_s": round(time.perf_counter() - started, 2), "profile": str(engine.profile)}
    log.info("model loaded", extra=fields)
    return engine


def _in_order(order: Order, wait: Callable[[], Sequence[Sequence[float]]]) -> list[float]:
    """A batch's scores as it was given, from those of its parts."""
    scores = [0.0] * sum(map(len, order))
    for part, of_part in zip(order, wait(), strict=True):
        for index, score in zip(part, of_part, strict=True):
            scores[index] = score
    return scores


def _precision(loaded: Loaded, settings: Settings) -> str:
    """By which scores of two workers may differ: part of a job's fingerprint."""
    dtype = str(loaded.dtype).removeprefix("torch.")
    return dtype if settings.quantization == "none" else f"{settings.quantization} in {dtype}"
