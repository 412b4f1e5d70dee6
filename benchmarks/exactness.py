"""What bfloat16 does to scores and ranking, ours beside CrossEncoder's own.

    python -m benchmarks.exactness --documents 40

The same pairs by ours and by CrossEncoder, in float32 and bfloat16, and by CrossEncoder in batches
of 8 and of 16. Where the CPU has no bfloat16 arithmetic it is emulated: slow, and as exact.
Rank correlations are of all documents of one query, the lowest of the queries.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tokenizers import Tokenizer

from benchmarks import environments, shapes, texts
from benchmarks.contenders import CrossEncoder, engine
from benchmarks.shapes import DEMO_SHAPE, SHAPES
from benchmarks.texts import Workload

QUERIES = 2
Scores = list[float]


def main() -> int:
    named = {DEMO_SHAPE.name: DEMO_SHAPE} | SHAPES
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=40, help="of each of two queries")
    parser.add_argument("--shape", choices=named, default=DEMO_SHAPE.name)
    args = parser.parse_args()
    python = environments.python_of("crossencoder")
    folder = shapes.directory(named[args.shape])
    drawn = texts.Texts(Tokenizer.from_file(str(folder / "tokenizer.json")), seed=3)
    work = texts.mixed(drawn, jobs=QUERIES, documents=args.documents, least=20, most=400)
    scores: dict[str, Scores] = {}
    for dtype in ("float32", "bfloat16"):
        ours = engine(folder, dtype)
        scores[f"ours {dtype}"] = ours.score(work.jobs).scores
        ours.close()
        if python:
            theirs = CrossEncoder(python, folder, dtype)
            for batch in (8, 16):
                name = f"CrossEncoder {dtype}, batch {batch}"
                scores[name] = theirs.score_by(work.jobs, batch).scores
            theirs.close()
    _report(work, scores)
    return 0 if python else 1


def _report(work: Workload, scores: dict[str, Scores]) -> None:
    print(f"{work.pairs} pairs, {work.name}; probabilities")
    print("| scores | beside | largest difference | mean | Spearman | Kendall |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, other in _comparisons(scores):
        a, b = scores[name], scores[other]
        off = [abs(x - y) for x, y in zip(a, b, strict=True)]
        size = f"{max(off):.1e} | {sum(off) / len(off):.1e}"
        lowest = [min(_by_query(work, a, b, measure)) for measure in (spearman, kendall)]
        print(f"| {name} | {other} | {size} | {lowest[0]:.5f} | {lowest[1]:.5f} |")


def _comparisons(scores: dict[str, Scores]) -> list[tuple[str, str]]:
    reference = "CrossEncoder float32, batch 8"
    wanted = [
        ("ours float32", reference),
        ("ours bfloat16", "ours float32"),
        ("ours bfloat16", reference),
        ("CrossEncoder bfloat16, batch 8", reference),
        ("CrossEncoder bfloat16, batch 16", reference),
        ("CrossEncoder bfloat16, batch 16", "CrossEncoder bfloat16, batch 8"),
    ]
    return [(a, b) for a, b in wanted if a in scores and b in scores]


def _by_query(
    work: Workload, a: Scores, b: Scores, measure: Callable[[Scores, Scores], float]
) -> list[float]:
    size = len(work.jobs[0][1])
    starts = range(0, len(a), size)
    return [measure(a[start : start + size], b[start : start + size]) for start in starts]


def kendall(a: Scores, b: Scores) -> float:
    """Tau-b: pairs in the same order less pairs in the other, ties out of each side's total."""
    concordant = ties_a = ties_b = 0
    for i in range(len(a)):
        for j in range(i):
            x, y = _sign(a[i] - a[j]), _sign(b[i] - b[j])
            concordant += x * y
            ties_a += x == 0
            ties_b += y == 0
    total = len(a) * (len(a) - 1) / 2
    return concordant / float((total - ties_a) * (total - ties_b)) ** 0.5


def spearman(a: Scores, b: Scores) -> float:
    """Pearson's correlation of the ranks, tied scores having their mean rank."""
    x, y = _ranks(a), _ranks(b)
    mean = (len(a) - 1) / 2
    covariance = sum((p - mean) * (q - mean) for p, q in zip(x, y, strict=True))
    spreads = [sum((p - mean) ** 2 for p in ranks) for ranks in (x, y)]
    return float(covariance / (spreads[0] * spreads[1]) ** 0.5)


def _ranks(scores: Scores) -> list[float]:
    below = [sum(other < score for other in scores) for score in scores]
    equal = [scores.count(score) for score in scores]
    return [low + (same - 1) / 2 for low, same in zip(below, equal, strict=True)]


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


if __name__ == "__main__":
    sys.exit(main())
