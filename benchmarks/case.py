"""One shape in one dtype: its contenders, in turn, on each workload."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import httpx
from tokenizers import Tokenizer

from benchmarks import machine, operations, shapes, texts
from benchmarks.contenders import (
    Contender,
    CrossEncoder,
    Infinity,
    System,
    engine,
    seed_loop,
)
from benchmarks.peers.process import PeerFailed, Process
from benchmarks.shapes import MINILM, QWEN3_512, QWEN3_1024, Shape
from benchmarks.texts import Workload

OURS = "rerankq's engine"
WORKLOADS = ("mixed", "64", "512")  # tokens of a document
Sizes = tuple[int, int]  # jobs, documents of each

MIXED: Mapping[Shape, tuple[Sizes, int, int]] = {
    MINILM: ((4, 40), 20, 340),  # with a query 188 tokens a pair, on average
    QWEN3_512: ((2, 40), 20, 400),
    QWEN3_1024: ((2, 20), 20, 400),
}
FIXED: Mapping[Shape, Mapping[int, Sizes]] = {
    MINILM: {64: (4, 40), 512: (2, 20)},  # of 512 tokens, MiniLM itself cuts off what is too long
    QWEN3_512: {64: (2, 40), 512: (2, 12)},
    QWEN3_1024: {64: (2, 20), 512: (2, 6)},
}


@dataclass
class Result:
    """One workload's measurements, an element a round.

    Attributes:
        tokens: mean tokens of a pair, and those of them that it shares with its query's others.
        rates: pairs/s by contender.
        limits: pairs/s that the matrix products' rate would allow.
        gflops: that rate, by way of computing it.
        deviation: of the probabilities from our engine's, at most, by contender.
    """

    shape: str
    dtype: str
    workload: str
    pairs: int
    tokens: tuple[float, float]
    settings: dict[str, str] = field(default_factory=dict)
    rates: dict[str, list[float]] = field(default_factory=dict)
    limits: list[float] = field(default_factory=list)
    gflops: list[dict[str, float]] = field(default_factory=list)
    deviation: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """What is run.

    Attributes:
        peers: the peers' interpreters, by the name of their environment; None: not installed.
        fraction: so many times fewer documents.
    """

    shape: Shape
    dtype: str
    rounds: int
    fraction: int
    peers: Mapping[str, Path | None]

    def run(self, workloads: Sequence[str]) -> Iterator[Result]:
        folder = shapes.directory(self.shape)
        with _opened(self._makers(folder)) as contenders:
            limit = Process(sys.executable, "benchmarks.limit", str(machine.cores()))
            try:
                for kind, workload in _workloads(self.shape, folder, self.fraction):
                    if kind in workloads:
                        yield self._measure(workload, contenders, limit)
            finally:
                limit.close()

    def _makers(self, folder: Path) -> list[Callable[[], Contender]]:
        crossencoder, infinity = self.peers["crossencoder"], self.peers["infinity"]
        makers: list[Callable[[], Contender]] = [
            lambda: seed_loop(folder, self.dtype),
            lambda: engine(folder, self.dtype),
            lambda: System(folder, self.dtype),
        ]
        if crossencoder:
            makers.append(lambda: CrossEncoder(crossencoder, folder, self.dtype))
        if infinity and not self.shape.causal:  # it serves classifiers
            makers.append(lambda: Infinity(infinity, folder, self.dtype))
        return makers

    def _measure(self, workload: Workload, contenders: list[Contender], limit: Process) -> Result:
        pairs = operations.pairs_of(self.shape, shapes.directory(self.shape), workload.jobs)
        result = Result(
            self.shape.name,
            self.dtype,
            workload.name,
            len(pairs),
            (mean(pair.length for pair in pairs), mean(len(pair.shared) for pair in pairs)),
            rates={contender.name: [] for contender in contenders},
        )
        for contender in contenders:
            # One query's documents: a peer that is seven times as slow would be tried for an hour.
            result.settings[contender.name] = contender.tune(workload.jobs[:1])
        operations_needed = operations.needed(self.shape, pairs)
        for number in range(self.rounds):
            gflops = limit.ask(matrices=self.shape.matrices, dtype=self.dtype)
            result.gflops.append(gflops)
            result.limits.append(len(pairs) * gflops["best"] * 1e9 / operations_needed)
            self._round(workload, contenders, number, result)
        return result

    def _round(
        self, workload: Workload, contenders: list[Contender], number: int, result: Result
    ) -> None:
        first = number % len(contenders)  # nobody always follows the same one
        scores = {}
        for contender in contenders[first:] + contenders[:first]:
            answer = contender.score(workload.jobs)
            result.rates[contender.name].append(workload.pairs / answer.seconds)
            scores[contender.name] = answer.scores
        for name, found in scores.items():
            off = max(abs(a - b) for a, b in zip(found, scores[OURS], strict=True))
            result.deviation[name] = max(off, result.deviation.get(name, 0.0))


def _workloads(shape: Shape, folder: Path, fraction: int) -> Iterator[tuple[str, Workload]]:
    drawn = texts.Texts(Tokenizer.from_file(str(folder / "tokenizer.json")), seed=1)
    (jobs, documents), least, most = MIXED[shape]
    fewer = max(2, documents // fraction)
    yield "mixed", texts.mixed(drawn, jobs=jobs, documents=fewer, least=least, most=most)
    for tokens, (jobs, documents) in FIXED[shape].items():
        fewer = max(2, documents // fraction)
        yield str(tokens), texts.fixed(drawn, jobs=jobs, documents=fewer, tokens=tokens)


@contextmanager
def _opened(makers: list[Callable[[], Contender]]) -> Iterator[list[Contender]]:
    """Those that start; of the others one line each."""
    contenders: list[Contender] = []
    try:
        for make in makers:
            try:
                contenders.append(make())
            except (PeerFailed, httpx.HTTPError) as error:
                print(f"left out: {error}", flush=True)
        yield contenders
    finally:
        for contender in contenders:
            contender.close()
