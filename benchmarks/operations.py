"""The arithmetic that pairs need, whatever way a contender goes about them.

No padding; where the model is causal, what the documents of a query share is computed once. Every
layer counts for every token. Norms, activations, the embedding and the head are left out: a few per
cent, which no matrix product could do.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from benchmarks.shapes import Shape
from benchmarks.texts import Job
from worker.engine.interface import Pair
from worker.engine.registry import REGISTRY
from worker.engine.templates import Limits, Template
from worker.engine.templates_pair import SequencePairTemplate
from worker.engine.templates_prompt import PromptTemplate


def pairs_of(shape: Shape, folder: Path, jobs: list[Job]) -> list[Pair]:
    """Token ids, as the worker lays them out; `Pair.shared` is one object a query."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    template: Template
    if shape.causal:
        template = PromptTemplate(REGISTRY["Qwen3ForCausalLM"].prompt, tokenizer, tokenizer)
    else:
        template = SequencePairTemplate(tokenizer, tokenizer, "")
    limits = Limits(8192 if shape.causal else 512, 0)
    return [
        pair
        for query, documents in jobs
        for pair in template.encode(query, None, documents, limits)
    ]


def needed(shape: Shape, pairs: list[Pair]) -> float:
    """Floating-point operations, a multiplication and an addition counted as two."""
    tokens, keys = _tokens_and_keys(shape, pairs)
    linears = 2 * sum(inputs * outputs for inputs, outputs in shape.matrices) * tokens
    # A query meets a key, then weights its value: twice head_dim products a head.
    attention = 4 * shape.heads * shape.head_dim * keys
    return float(shape.layers * (linears + attention))


def tokens(shape: Shape, pairs: list[Pair]) -> int:
    """Tokens that have to go through the layers."""
    return _tokens_and_keys(shape, pairs)[0]


def _tokens_and_keys(shape: Shape, pairs: list[Pair]) -> tuple[int, int]:
    """Tokens to compute, and over all of them the keys that each looks at."""
    if not shape.causal:
        return sum(p.length for p in pairs), sum(p.length**2 for p in pairs)
    prefixes = {id(pair.shared): len(pair.shared) for pair in pairs}
    count = sum(prefixes.values()) + sum(len(pair.own) for pair in pairs)
    keys = sum(_triangle(length) for length in prefixes.values())
    keys += sum(_triangle(pair.length) - _triangle(len(pair.shared)) for pair in pairs)
    return count, keys


def _triangle(length: int) -> int:
    return length * (length + 1) // 2
