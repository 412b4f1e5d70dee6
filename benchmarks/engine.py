"""Our engine in a process of its own, without the queue.

python -m benchmarks.engine MODEL DTYPE THREADS [TOKEN_BUDGET]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator

from benchmarks.peers.lines import serve, timed
from benchmarks.texts import Job
from rerankq.settings import Settings
from worker.engine.interface import Engine, Pair
from worker.planner import LOOKAHEAD_BUDGETS, plan

SLICE = 256  # documents that are tokenized at once, as many as a shard may have


def scored(engine: Engine, jobs: Iterable[Job]) -> Iterator[list[tuple[int, float]]]:
    """Batch by batch (number of the pair, log-odds), planned as a worker does.

    No more is tokenized than the planner looks at, so that memory does not follow the jobs' size.
    """
    profile = engine.profile
    coming = _encoded(engine, jobs)
    waiting: list[tuple[int, Pair]] = []
    while True:
        _fill(waiting, coming, LOOKAHEAD_BUDGETS * profile.token_budget)
        if not waiting:
            return
        chosen = plan([pair for _, pair in waiting], profile.token_budget, profile.layout)
        batch = [waiting[i] for i in chosen]
        scores = engine.prepare([pair for _, pair in batch])()
        yield [(number, score) for (number, _), score in zip(batch, scores, strict=True)]
        taken = set(chosen)
        waiting = [item for i, item in enumerate(waiting) if i not in taken]


def probabilities(engine: Engine, jobs: list[Job]) -> list[float]:
    """In order."""
    found = dict(item for batch in scored(engine, jobs) for item in batch)
    return [1 / (1 + math.exp(-found[number])) for number in range(len(found))]


def _encoded(engine: Engine, jobs: Iterable[Job]) -> Iterator[tuple[int, Pair]]:
    number = 0
    for query, documents in jobs:
        for start in range(0, len(documents), SLICE):
            for pair in engine.encode(query, None, documents[start : start + SLICE]):
                yield number, pair
                number += 1


def _fill(waiting: list[tuple[int, Pair]], coming: Iterator[tuple[int, Pair]], tokens: int) -> None:
    held = sum(pair.length for _, pair in waiting)
    while held <= tokens and (item := next(coming, None)) is not None:
        waiting.append(item)
        held += item[1].length


def main() -> None:
    import torch

    from worker.engine.hosted import host

    model, dtype, threads, *budget = sys.argv[1:]
    torch.set_num_threads(int(threads))
    given = {"token_budget": int(budget[0])} if budget else {}
    engine = host(Settings(model=model, dtype=dtype, device="cpu", **given))
    serve(lambda asked: timed(lambda: probabilities(engine, asked["jobs"])) | _profile(engine))


def _profile(engine: Engine) -> dict[str, object]:
    return {"layout": engine.profile.layout.value, "budget": engine.profile.token_budget}


if __name__ == "__main__":
    main()
