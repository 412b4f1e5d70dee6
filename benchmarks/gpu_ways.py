"""What is timed on a GPU: our coalescer and engine, CrossEncoder, a matrix product."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks.texts import Job
from worker.coalescer import Coalescer
from worker.engine.interface import Engine
from worker.work import Work

TOKENIZING_THREADS = 4
BATCH_SIZES = (16, 32, 64)
MATRIX = 8_192
TINY_MATRIX = 512
PRODUCTS = 10


class Coalesced:
    """The engine as a worker drives it: tokenizing on threads, one batch formed ahead."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._coalescer = Coalescer(engine, before_launch=lambda _: [])
        self._coalescer.start()

    def __call__(self, jobs: list[Job]) -> list[float]:
        """Log-odds, in order."""
        with ThreadPoolExecutor(TOKENIZING_THREADS) as pool:
            submitted = list(pool.map(self._submit, range(len(jobs)), jobs))
        for _, ended in submitted:
            ended.wait()
        for work, _ in submitted:
            if work.error is not None:
                raise work.error
        return [score for work, _ in submitted for score in work.scores]

    def close(self) -> None:
        self._coalescer.drain()

    def _submit(self, number: int, job: Job) -> tuple[Work, threading.Event]:
        ended = threading.Event()
        pairs = self._engine.encode(job[0], None, job[1])
        work = Work("", str(number), pairs, float(number), lambda _: ended.set())
        self._coalescer.submit(work)
        return work, ended


def crossencoder(
    folder: Path, dtype: torch.dtype, device: torch.device
) -> Callable[[list[Job]], list[float]] | None:
    """At the batch size that is fastest for a quarter of the jobs; None where it is missing."""
    try:
        from benchmarks.peers.crossencoder import Peer
    except ImportError:
        print("CrossEncoder left out: sentence-transformers is not installed here", flush=True)
        return None
    peer = Peer(str(folder), dtype, device.type)
    best: dict[int, int] = {}

    def score(jobs: list[Job]) -> list[float]:
        if id(jobs) not in best:
            some = jobs[: max(1, len(jobs) // 4)]
            peer(some, BATCH_SIZES[-1])
            size = min(BATCH_SIZES, key=lambda size: _seconds(lambda: peer(some, size)))
            best[id(jobs)] = size
        return peer(jobs, best[id(jobs)])

    return score


def matrix_rate() -> float:
    """FLOP/s of a large bfloat16 product, the median of some; on a CPU of a small float32 one."""
    cuda = torch.cuda.is_available()
    size, device = (MATRIX, "cuda") if cuda else (TINY_MATRIX, "cpu")
    dtype = torch.bfloat16 if cuda else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    _product(a, b)
    return (
        2 * size**3 / statistics.median(_seconds(lambda: _product(a, b)) for _ in range(PRODUCTS))
    )


def profile(run: Callable[[], object]) -> str:
    """The operations of one run, all on this thread, by their time on the device."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        run()
    by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    return str(profiler.key_averages().table(sort_by=by, row_limit=40))


def _product(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.mm(a, b)
    if a.is_cuda:
        torch.cuda.synchronize()


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started
