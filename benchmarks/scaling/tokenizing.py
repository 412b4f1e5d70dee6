"""What tokenizing costs a worker's CPU, which `benchmarks.scale` leaves out.

    python -m benchmarks.scaling.tokenizing

Shards as the load makes them, the demo model's tokenizer and the prompt of Qwen3-Reranker, one
thread as a worker's intake has it; documents that were not seen before.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from benchmarks.scaling.load import texts
from benchmarks.spread import spread

TOKENIZER = Path(__file__).resolve().parents[2] / "models" / "demo" / "tokenizer.json"
SIZES = (256, 1024, 4096)
DOCUMENTS = 49
ROUNDS = 20


def main() -> None:
    # Read when it is loaded: as many threads as a shard has there.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for size in SIZES:
        print(f"documents of {size:,} bytes: {spread(measure(size), '.2f')} us of CPU a token")


def measure(size: int) -> list[float]:
    from tokenizers import Tokenizer

    from worker.engine.registry import REGISTRY
    from worker.engine.templates import Limits
    from worker.engine.templates_prompt import PromptTemplate

    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    template = PromptTemplate(REGISTRY["Qwen3ForCausalLM"].prompt, tokenizer, tokenizer)
    found = []
    for seed in range(ROUNDS):
        documents = texts(random.Random(seed), size, DOCUMENTS)
        started = time.process_time()
        pairs = template.encode(f"query {seed}", None, documents, Limits(8192, 0))
        taken = time.process_time() - started
        found.append(1e6 * taken / sum(pair.length for pair in pairs))
    return found


if __name__ == "__main__":
    main()
