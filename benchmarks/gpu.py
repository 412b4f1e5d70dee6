"""Ours on a GPU, beside the seed loop, CrossEncoder and the card's own matrix rate, in turn.

    python -m benchmarks.gpu --sizes 0.6b 4b 8b --pairs 1024 384 256 --http 0.6b --output DIR

Qwen3-Reranker's own sizes with random weights, made on the device; the demo model's tokenizer, with
embedding and head of the real vocabulary. Ours runs as in a worker, without the queue: tokenized on
threads, one batch formed ahead; and for the sizes named by --http also with the queue, 16 clients,
then single 10-document jobs on the idle system. Writes gpu.json and gpu.md into the output folder,
with --profile the operations' times, too. Without CUDA it runs tiny models on the CPU, which
measures nothing and only shows that the script works.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import torch
from tokenizers import Tokenizer

from benchmarks import gpu_models, operations, pipeline, texts
from benchmarks.contenders import System
from benchmarks.engine import probabilities
from benchmarks.gpu_ways import Coalesced, crossencoder, matrix_rate, profile
from benchmarks.peers.seedloop import SeedLoop
from benchmarks.shapes import Shape
from benchmarks.spread import spread
from benchmarks.texts import Job, Workload
from rerankq.settings import Settings
from worker.engine.hosted import host

DOCUMENTS = 32  # of a job, which the seed loop takes as one batch
SPREAD = 0.6  # documents are this much shorter and longer than their mean
OURS, TINY = "rerankq's engine", "tiny"
Way = Callable[[list[Job]], list[float]]


@dataclass
class Result:
    """One size at one mean length, an element a round; rates in pairs/s, matrix in FLOP/s."""

    size: str
    device: str
    tokens: int
    pairs: int
    pair_tokens: int
    operations: float
    rates: dict[str, list[float]] = field(default_factory=dict)
    matrix: list[float] = field(default_factory=list)


def main() -> None:
    args = _arguments()
    cuda = torch.cuda.is_available()
    if not cuda:
        print("NO CUDA DEVICE: tiny models on the CPU; these numbers say nothing about a GPU")
    args.output.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    sizes = args.sizes if cuda else [TINY]
    for size, pairs in zip(sizes, cycle(args.pairs), strict=False):
        with tempfile.TemporaryDirectory(dir=args.output) as folder:
            results += _measure(size, Path(folder), pairs if cuda else 2 * DOCUMENTS, args)
        gc.collect()  # this size's weights, before the next one's
        torch.cuda.empty_cache()
        whole = [dataclasses.asdict(result) for result in results]
        (args.output / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n")
        (args.output / "gpu.md").write_text(_table(results))
    print(_table(results))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=gpu_models.SIZES, default=["0.6b"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[150, 512])
    parser.add_argument("--pairs", nargs="+", type=int, default=[1_024], help="of each size")
    parser.add_argument("--http", nargs="*", choices=gpu_models.SIZES, default=[])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--output", type=Path, default=Path(".bench"))
    return parser.parse_args()


def _measure(size: str, folder: Path, pairs: int, args: argparse.Namespace) -> Iterator[Result]:
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    dtype = torch.bfloat16 if cuda else torch.float32
    shape = gpu_models.make(size, folder, device, dtype)
    settings = Settings(model=str(folder), device=device.type, dtype=str(dtype).split(".")[1])
    engine = host(settings)
    ours = Coalesced(engine)
    ways: dict[str, Way] = {OURS: ours, "seed loop": _seed(folder, dtype, device)}
    found = crossencoder(folder, dtype, device)
    if found is not None:
        ways["CrossEncoder"] = found
    system = System(folder, settings.dtype, device.type) if size in {*args.http, TINY} else None
    if system is not None:
        ways[system.name] = lambda jobs: system.score(jobs).scores
    print(f"{size}: {engine.profile}", flush=True)
    for length in args.lengths:
        work = _workload(folder, length, pairs)
        yield _alternate(size, shape, folder, work, length, ways, args.rounds)
        if args.profile:
            table = profile(lambda work=work: probabilities(engine, work.jobs))
            (args.output / f"profile-{size}-{length}.txt").write_text(table)
    ours.close()
    if system is not None:
        pipeline.latency(system, [job for job in work.jobs for _ in range(2)])
        system.close()


def _seed(folder: Path, dtype: torch.dtype, device: torch.device) -> Way:
    loop = SeedLoop(str(folder), dtype, device.type)
    return lambda jobs: [score for job in jobs for score in loop(job)]


def _workload(folder: Path, length: int, pairs: int) -> Workload:
    drawn = texts.Texts(Tokenizer.from_file(str(folder / "tokenizer.json")), seed=1)
    least, most = int(length * (1 - SPREAD)), int(length * (1 + SPREAD))
    return texts.mixed(
        drawn, jobs=max(1, pairs // DOCUMENTS), documents=DOCUMENTS, least=least, most=most
    )


def _alternate(
    size: str,
    shape: Shape,
    folder: Path,
    work: Workload,
    length: int,
    ways: dict[str, Way],
    rounds: int,
) -> Result:
    pairs = operations.pairs_of(shape, folder, work.jobs)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    result = Result(
        size,
        device,
        length,
        work.pairs,
        sum(pair.length for pair in pairs),
        operations.needed(shape, pairs),
    )
    able = {name: way for name, way in ways.items() if _fits(name, way, work)}
    for _ in range(rounds):
        result.matrix.append(matrix_rate())
        for name, way in able.items():
            started = time.perf_counter()
            way(work.jobs)
            rate = work.pairs / (time.perf_counter() - started)
            result.rates.setdefault(name, []).append(rate)
    return result


def _fits(name: str, way: Way, work: Workload) -> bool:
    """Warms up, on everything that will be asked."""
    try:
        way(work.jobs)
        return True
    except torch.OutOfMemoryError:
        print(f"left out: {name} has not enough memory for {work.name}", flush=True)
    torch.cuda.empty_cache()
    return False


def _table(results: list[Result]) -> str:
    head = ("size", "documents", "contender", "pairs/s", "tokens/s", "of the matrix rate", "ours /")
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for result in results:
        lines += [" | ".join(_cells(result, name)) for name in result.rates]
    devices = ", ".join(sorted({result.device for result in results}))
    matrix = [rate / 1e12 for result in results for rate in result.matrix]
    body = "".join(f"| {line} |\n" for line in lines)
    return f"{devices}; matrix product {spread(matrix, '.3g')} TFLOP/s\n\n{body}"


def _cells(result: Result, name: str) -> list[str]:
    rates = result.rates[name]
    per_pair = result.operations / result.pairs
    pair_tokens = result.pair_tokens / result.pairs
    shares = [rate * per_pair / most for rate, most in zip(rates, result.matrix, strict=True)]
    ours = [a / b for a, b in zip(result.rates[OURS], rates, strict=True)]
    return [
        result.size,
        f"{result.tokens} tokens",
        name,
        spread(rates, ".4g"),
        spread([rate * pair_tokens for rate in rates], ".3g"),
        spread(shares, ".1%"),
        spread(ours, ".2f"),
    ]


if __name__ == "__main__":
    main()
