"""Memory that runs out: the batch is split by pairs, what cannot fit alone fails alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from rerankq.settings import Settings
from tests.conftest import eventually
from tests.models import make_qwen3
from worker import metrics
from worker.coalescer import Coalescer
from worker.engine.batch import Batch
from worker.engine.hosted import HostedEngine, host
from worker.engine.interface import EngineBroken, Pair, PairFailed
from worker.work import Work

FITS = 400  # tokens


class Small:
    """The engine's own pass on a device with little memory."""

    def __init__(self, forward: Any, failure: Callable[[], Exception]) -> None:
        self._forward = forward
        self._failure = failure
        self.layout = forward.layout
        self.refused = 0

    def collate(self, pairs: Sequence[Pair]) -> Batch:
        batch: Batch = self._forward.collate(pairs)
        return batch

    def __call__(self, batch: Batch) -> torch.Tensor:
        if batch.tensors["input_ids"].numel() > FITS:
            self.refused += 1
            raise self._failure()
        scores: torch.Tensor = self._forward(batch)
        return scores


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> HostedEngine:
    folder: Path = make_qwen3(tmp_path_factory.mktemp("qwen3"))
    return host(Settings(model=str(folder), device="cpu", token_budget=4096))


@pytest.fixture
def small(engine: HostedEngine, monkeypatch: pytest.MonkeyPatch) -> Small:
    small = Small(engine._forward, lambda: torch.OutOfMemoryError("CUDA out of memory"))
    monkeypatch.setattr(engine, "_forward", small)
    return small


def test_a_batch_is_split_until_it_fits_and_the_budget_learns(
    engine: HostedEngine, small: Small
) -> None:
    ended: list[Work] = []
    coalescer = Coalescer(engine, before_launch=lambda _: [])
    documents = [f"document {n} " + "word " * 40 for n in range(30)]
    pairs = engine.encode("query", None, documents)
    innocent = Work("a", "a", pairs, 0.0, ended.append)
    huge = engine.encode("query", None, ["short", "word " * 600])
    impossible = Work("b", "b", huge, 1.0, ended.append, first=100)
    splits = metrics.OOM_SPLITS._value.get()
    coalescer.submit(innocent)
    coalescer.submit(impossible)
    coalescer.start()
    try:
        eventually(lambda: len(ended) == 2, 30)
    finally:
        coalescer.drain()
    assert innocent.error is None
    expected = [engine.prepare([pair])()[0] for pair in pairs]
    assert innocent.scores == pytest.approx(expected, abs=1e-4)
    assert isinstance(impossible.error, PairFailed)
    assert impossible.error.problem.code == "out_of_memory"
    assert f"document 101: its {huge[1].length} tokens" in impossible.error.problem.detail
    assert metrics.OOM_SPLITS._value.get() > splits
    assert coalescer._budget.tokens < 4096


def test_a_poisoned_device_breaks_the_engine(
    engine: HostedEngine, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small, "_failure", lambda: torch.AcceleratorError("illegal access"))
    with pytest.raises(EngineBroken, match="illegal access"):
        engine.prepare(engine.encode("query", None, ["word " * 900]))()


def test_scores_on_their_way_from_a_gpu_are_waited_for(
    engine: HostedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is a double; that the pass ran before is all a CPU can tell."""
    stream = MagicMock()
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    pairs = engine.encode("query", None, ["one", "two words"])
    wait = engine._started(engine._forward.collate(pairs))
    arrived = stream.record_event.return_value
    arrived.synchronize.assert_not_called()
    assert wait() == [pytest.approx(engine.prepare(pairs)(), abs=1e-5)]
    arrived.synchronize.side_effect = torch.AcceleratorError("illegal access")
    with pytest.raises(EngineBroken, match="illegal access"):
        wait()
