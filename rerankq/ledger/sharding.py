"""Cutting a job into shards: bounded work each, so that one job spreads over every worker.

Pure arithmetic on estimates; the API has no tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rerankq.ledger.keys import MAX_ENTRIES

BYTES_PER_TOKEN = 4  # UTF-8 English under the usual vocabularies; only the cut depends on it
TEMPLATE_TOKENS = 70  # Qwen3-Reranker's prefix, default instruction and suffix
FIRST_GUESS_TOKENS_PER_S = 20_000  # until a worker has measured its rate
LEAST_SHARD_TOKENS = 1_024  # below this the ledger's own cost per shard shows
SHARD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Cut:
    """A job's shards.

    Attributes:
        bounds: (start, stop) document indexes of each shard; together all documents, in order.
        entry_tokens: estimated tokens of the average shard.
        stride_ms: nominal device time of a shard, what separates its entries' fair scores.
    """

    bounds: tuple[tuple[int, int], ...]
    entry_tokens: int
    stride_ms: int


def estimate_tokens(text: str) -> int:
    # ASCII is by far the common case, and its length needs no encoding.
    size = len(text) if text.isascii() else len(text.encode())
    return size // BYTES_PER_TOKEN + 1


def pair_costs(
    query: str, instruction: str | None, documents: Sequence[str], max_length: int
) -> list[int]:
    """Estimated tokens of each pair, none above `max_length`, where the model cuts it."""
    shared = TEMPLATE_TOKENS + estimate_tokens(query) + estimate_tokens(instruction or "")
    return [min(max_length, shared + estimate_tokens(document)) for document in documents]


def cut(
    query: str,
    instruction: str | None,
    documents: Sequence[str],
    *,
    shard_tokens: int,
    max_length: int,
    tokens_per_s: float | None = None,
) -> Cut:
    """Cut at most a second of device time a shard, and at most `MAX_ENTRIES` shards.

    Args:
        shard_tokens: upper limit of a shard's estimated tokens.
        max_length: tokens after which a pair is cut.
        tokens_per_s: rate of the slowest worker; None while nobody has measured one.
    """
    rate = tokens_per_s or FIRST_GUESS_TOKENS_PER_S
    costs = pair_costs(query, instruction, documents, max_length)
    total = sum(costs)
    limit = min(shard_tokens, max(LEAST_SHARD_TOKENS, int(rate * SHARD_SECONDS)))
    # Each shard closes below the limit, on average above half of it.
    limit = max(limit, 2 * total // MAX_ENTRIES)
    bounds = tuple(_close_below(costs, limit))
    tokens = max(1, total // len(bounds))
    return Cut(bounds, tokens, max(1, int(1000 * tokens / rate)))


def _close_below(costs: Sequence[int], limit: int) -> list[tuple[int, int]]:
    bounds, start, held = [], 0, 0
    for i, cost in enumerate(costs):
        if i > start and held + cost > limit:
            bounds.append((start, i))
            start, held = i, 0
        held += cost
    bounds.append((start, len(costs)))
    return bounds
