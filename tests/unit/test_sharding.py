"""Shards are bounded, complete and in order."""

from hypothesis import given
from hypothesis import strategies as st

from rerankq.ledger.keys import MAX_ENTRIES
from rerankq.ledger.sharding import TEMPLATE_TOKENS, cut, estimate_tokens


@given(
    lengths=st.lists(st.integers(0, 5000), min_size=1, max_size=300),
    shard_tokens=st.integers(256, 32_768),
)
def test_shards_are_the_documents_in_order(lengths: list[int], shard_tokens: int) -> None:
    documents = ["x" * n for n in lengths]
    shape = cut("q", None, documents, shard_tokens=shard_tokens, max_length=8192)
    flat = [i for start, stop in shape.bounds for i in range(start, stop)]
    assert flat == list(range(len(documents)))
    assert all(start < stop for start, stop in shape.bounds)
    shared = TEMPLATE_TOKENS + estimate_tokens("q") + estimate_tokens("")
    for start, stop in shape.bounds:
        tokens = sum(shared + estimate_tokens(d) for d in documents[start:stop])
        assert tokens <= shard_tokens or stop - start == 1


def test_a_shard_is_at_most_a_second_of_the_slowest_worker() -> None:
    documents = ["word " * 40] * 1000
    fast = cut("q", None, documents, shard_tokens=100_000, max_length=512, tokens_per_s=50_000)
    slow = cut("q", None, documents, shard_tokens=100_000, max_length=512, tokens_per_s=5_000)
    assert fast.entry_tokens <= 50_000
    assert slow.entry_tokens <= 5_000
    assert slow.stride_ms <= 1_000


def test_a_huge_job_gets_larger_shards_instead_of_more() -> None:
    shape = cut("q", None, [""] * 100_000, shard_tokens=256, max_length=512)
    assert len(shape.bounds) <= MAX_ENTRIES
    assert shape.bounds[-1][1] == 100_000


def test_estimate_counts_bytes_not_characters() -> None:
    assert estimate_tokens("abcd" * 10) == 11
    assert estimate_tokens("日本" * 10) == 16


def test_what_the_model_cuts_off_costs_nothing() -> None:
    documents = ["x" * 40_000] * 100
    shape = cut("q", None, documents, shard_tokens=16_384, max_length=512)
    assert shape.entry_tokens <= 16_384
    assert len(shape.bounds) == 100 * 512 // 16_384 + 1
