"""The benchmarks' own arithmetic: what a limit or a correlation says must not be a slip of ours."""

import pytest

from benchmarks.exactness import kendall, spearman
from benchmarks.operations import needed
from benchmarks.shapes import Shape
from worker.engine.interface import Pair

CAUSAL = Shape("c", 8, 3, 2, 1, 4, 16, gated=True, causal=True, vocabulary=10)
ENCODER = Shape("e", 8, 3, 2, 2, 4, 16, gated=False, causal=False, vocabulary=10)


def test_operations_of_a_causal_model_count_a_shared_prefix_once():
    shared = (1,) * 5
    pairs = [Pair(shared, (2,) * 3), Pair(shared, (3,) * 2), Pair((4,), (5,))]
    seen: set[tuple[int, ...]] = set()  # a token's state depends on all up to it, and nothing else
    for number, pair in enumerate(pairs):
        for end in range(1, pair.length + 1):
            owner = id(pair.shared) if end <= len(pair.shared) else -number
            seen.add((owner, end))
    # q and o 8x8, k and v 8x4, gate, up and down 8x16; a key is multiplied, then its value, 2 x 4.
    linears = 2 * (2 * 64 + 2 * 32 + 3 * 128) * len(seen)
    attention = sum(2 * 2 * 2 * 4 * end for _, end in seen)
    assert needed(CAUSAL, pairs) == 3 * (linears + attention)


def test_operations_of_an_encoder_count_every_pair_whole():
    shared = (1,) * 5
    pairs = [Pair(shared, (2,) * 3), Pair(shared, (3,) * 2)]
    linears = 2 * (4 * 64 + 2 * 128) * (8 + 7)
    attention = 2 * 2 * 2 * 4 * (8 * 8 + 7 * 7)
    assert needed(ENCODER, pairs) == 3 * (linears + attention)


def test_rank_correlations_of_known_cases():
    """By hand; the last as scipy 1.17 has it (kendalltau, spearmanr)."""
    a = [0.1, 0.2, 0.3, 0.4]
    assert kendall(a, a) == spearman(a, a) == 1
    assert kendall(a, a[::-1]) == spearman(a, a[::-1]) == -1
    assert kendall(a, [0.2, 0.1, 0.3, 0.4]) == pytest.approx(2 / 3)
    tied = [0.1, 0.1, 0.3, 0.2]
    assert kendall(a, tied) == pytest.approx(0.5477225575051661)
    assert spearman(a, tied) == pytest.approx(0.7378647873726218)
