"""Where a packed row's tokens lie, and that the kernels compute what attention is."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from worker.engine.interface import Layout, Pair
from worker.engine.kernels import CHUNK, Kernel, Kernels, fused, products, windowed
from worker.engine.packing import Span, pack_causal, pack_whole, varlen_of
from worker.planner import cost

A, B = (1, 2, 3), (4, 5)


def test_a_prefix_lies_in_the_row_once_and_its_documents_behind_it() -> None:
    pairs = [Pair(A, (10, 11)), Pair(B, (20,)), Pair(A, (12,))]
    row = pack_causal(pairs)
    assert row.ids.tolist() == [[1, 2, 3, 10, 11, 12, 4, 5, 20]]
    assert row.positions.tolist() == [[0, 1, 2, 3, 4, 3, 0, 1, 2]]
    assert row.ids.numel() == cost(pairs, Layout.PACKED)
    assert row.packing.rows.tolist() == [4, 8, 5]
    assert row.packing.spans == [
        Span((0, 3), (0, 3)),
        Span((3, 5), (3, 5), (0, 3)),
        Span((5, 6), (5, 6), (0, 3)),
        Span((6, 8), (6, 8)),
        Span((8, 9), (8, 9), (6, 8)),
    ]


def test_equal_prefixes_that_are_not_one_object_are_two() -> None:
    one, other = (tuple(range(2)) for _ in range(2))
    pairs = [Pair(one, (3,)), Pair(other, (4,))]
    assert pack_causal(pairs).ids.tolist() == [[0, 1, 3, 0, 1, 4]]


def test_whole_pairs_lie_one_after_the_other_and_the_first_token_is_scored() -> None:
    row = pack_whole([Pair(A, (10,)), Pair(B, (20, 21))], first_position=2)
    assert row.ids.tolist() == [[1, 2, 3, 10, 4, 5, 20, 21]]
    assert row.positions.tolist() == [[2, 3, 4, 5, 2, 3, 4, 5]]
    assert row.packing.rows.tolist() == [0, 4]
    assert row.heads == [(0, 3), (4, 6)]
    assert [span.queries for span in row.packing.scored] == [(0, 1), (4, 5)]


def test_cumulative_lengths_and_gathered_keys() -> None:
    varlen = varlen_of(pack_causal([Pair(A, (10, 11)), Pair(A, (12,))]).packing)
    assert varlen.queries.tolist() == [0, 3, 5, 6]
    assert varlen.keys.tolist() == [0, 3, 8, 12]
    assert varlen.key_rows is not None
    assert varlen.key_rows.tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 0, 1, 2, 5]
    assert (varlen.most_queries, varlen.most_keys) == (3, 5)
    assert varlen_of(pack_whole([Pair(A, B)], 0).packing).key_rows is None


def reference(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scale: float,
    seen: torch.Tensor,
) -> torch.Tensor:
    """softmax(q k^T scale) v, written out in float64."""
    repeat = len(queries) // len(keys)
    q, k, v = queries.double(), *(x.double().repeat_interleave(repeat, 0) for x in (keys, values))
    scores = (q @ k.transpose(1, 2) * scale).masked_fill(~seen, -math.inf)
    return (torch.softmax(scores, -1) @ v).float()


def states(heads: int, tokens: int, width: int = 8) -> Tensor:
    return torch.randn(tokens, heads, width).transpose(0, 1)  # as a model's views lie


@pytest.mark.parametrize("kernel", [fused, products])
@settings(max_examples=40)
@given(st.integers(1, 3 * CHUNK), st.integers(0, 90), st.booleans(), st.sampled_from([1, 2, 4]))
def test_kernels(kernel: Kernel, n: int, before: int, causal: bool, groups: int) -> None:
    m = n + before
    q, k, v = states(4, n), states(groups, m), states(groups, m)
    seen = torch.ones(n, m, dtype=torch.bool)
    if causal:
        seen = seen.tril(before)
    expected = reference(q, k, v, 0.3, seen)
    torch.testing.assert_close(kernel(q, k, v, 0.3, causal), expected, atol=2e-5, rtol=1e-4)


@settings(max_examples=40)
@given(st.integers(1, 3 * CHUNK), st.integers(1, 70))
def test_a_window_hides_what_is_further_away(n: int, reach: int) -> None:
    q, k, v = states(4, n), states(4, n), states(4, n)
    at = torch.arange(n)
    expected = reference(q, k, v, 0.3, (at[:, None] - at).abs() <= reach)
    for kernel in (fused, products):
        found = windowed(q, k, v, 0.3, reach, kernel)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_a_length_goes_to_the_kernel_that_won_there() -> None:
    kernels = Kernels(((64, products), (192, fused), (512, products)))
    assert [kernels(n) for n in (1, 64, 65, 192, 193, 512, 513)] == [
        *(products, products, fused, fused, products, products, fused)
    ]


def test_an_empty_document_is_scored_by_its_prefix_wherever_it_stands() -> None:
    row = pack_causal([Pair(A, (10, 11)), Pair(A, ())])
    assert row.packing.rows.tolist() == [4, 2]
