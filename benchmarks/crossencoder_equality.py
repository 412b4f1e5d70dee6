"""Are our scores those of sentence-transformers' CrossEncoder, on the same model directory?

    python -m benchmarks.crossencoder_equality ours MODEL > ours.json
    PEER/bin/python benchmarks/crossencoder_equality.py theirs MODEL > theirs.json
    python -m benchmarks.crossencoder_equality compare ours.json theirs.json

PEER is an environment with sentence-transformers, which is none of our dependencies. Both score the
same pairs in float32 on the CPU, as log-odds; ours with control tokens read as text, so the pairs
hold none. `compare` prints the largest differences and exits 1 if one in probability is over 1e-5.
"""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path

MOST = 1e-5
LENGTHS = [0, 1, 2, 5, 12, 30, 60, 120]
QUERIES = ["what is a license?", "Work", "naïve 東京\n", "who may distribute copies, and how"]
ODD = ["café", "東京", "🙂", "e\u0301", "1,234.5", "it's", "\n\n", "\t", "-", "U.S."]


def pairs() -> list[tuple[str, str]]:
    words = (Path(__file__).parents[1] / "LICENSE").read_text().split()
    rng = random.Random(5)
    documents = [" ".join(rng.choices(words + ODD * 40, k=n)) for n in LENGTHS * 2]
    return [(query, document) for query in QUERIES for document in documents]


def ours(model: str) -> list[float]:
    from rerankq.settings import Settings
    from worker.engine.hosted import host

    engine = host(Settings(model=model, device="cpu", dtype="float32"))
    encoded = [
        pair for query, document in pairs() for pair in engine.encode(query, None, [document])
    ]
    batches = [encoded[start : start + 16] for start in range(0, len(encoded), 16)]
    return [score for batch in batches for score in engine.prepare(batch)()]


def theirs(model: str) -> list[float]:
    import torch
    from sentence_transformers import CrossEncoder

    peer = CrossEncoder(model, device="cpu", model_kwargs={"dtype": torch.float32})
    scores = peer.predict(pairs(), batch_size=8, activation_fn=torch.nn.Identity())
    return [float(s) if s.ndim == 0 else float(s[1] - s[0]) for s in scores]


def compare(one: list[float], other: list[float]) -> int:
    logits = max(abs(a - b) for a, b in zip(one, other, strict=True))
    shown = max(abs(_sigmoid(a) - _sigmoid(b)) for a, b in zip(one, other, strict=True))
    spread = max(map(_sigmoid, one)) - min(map(_sigmoid, one))
    print(
        f"{len(one)} pairs, probabilities spread over {spread:.3f}; "
        f"largest difference {logits:.1e} in log-odds, {shown:.1e} in probability"
    )
    return 0 if shown <= MOST else 1


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x))


def main() -> int:
    verb, *paths = sys.argv[1:]
    if verb == "compare":
        return compare(*(json.loads(Path(path).read_text()) for path in paths))
    print(json.dumps({"ours": ours, "theirs": theirs}[verb](paths[0])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
