"""Are our scores those of sentence-transformers' CrossEncoder, on the same model directory?

    python -m benchmarks.crossencoder_equality            (small models, one a family)
    python -m benchmarks.crossencoder_equality MODEL...   (directories)

sentence-transformers runs in an environment of its own; it is none of our dependencies. Both score
the same pairs in float32 on the CPU, as log-odds; ours with control tokens read as text,
so the pairs hold none. Prints the largest differences; exit status 1 if one in probability is over
1e-5.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path

MOST = 1e-5
OF_ITSELF = ("qwen3", "chat", "bert", "xlm-roberta", "modernbert", "electra", "deberta")
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


def compare(name: str, one: list[float], other: list[float]) -> int:
    logits = max(abs(a - b) for a, b in zip(one, other, strict=True))
    shown = max(abs(_sigmoid(a) - _sigmoid(b)) for a, b in zip(one, other, strict=True))
    spread = max(map(_sigmoid, one)) - min(map(_sigmoid, one))
    print(
        f"{name}: {len(one)} pairs, probabilities spread over {spread:.3f}; "
        f"largest difference {logits:.1e} in log-odds, {shown:.1e} in probability",
        flush=True,
    )
    return 0 if shown <= MOST else 1


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x))


def both(name: str, model: Path) -> int:
    from benchmarks import environments

    python = environments.python_of("crossencoder")
    if python is None:
        raise SystemExit("sentence-transformers could not be installed")
    line = [str(python), __file__, "theirs", str(model)]
    said = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True)
    return compare(name, ours(str(model)), json.loads(said.stdout.splitlines()[-1]))


def of_each_family() -> int:
    """Of each that CrossEncoder prompts as its card says without further files."""
    from benchmarks.shapes import CHAT_TEMPLATE
    from tests.models import FAMILIES

    with tempfile.TemporaryDirectory() as folder:
        models = {name: FAMILIES[name](Path(folder) / name) for name in OF_ITSELF}
        (models["qwen3"] / "chat_template.jinja").write_text(CHAT_TEMPLATE)
        return max(both(name, model) for name, model in models.items())


def main() -> int:
    match sys.argv[1:]:
        case []:
            return of_each_family()
        case ["theirs", model]:  # within the peer's environment
            print(json.dumps(theirs(model)))
            return 0
        case models:
            return max(both(model, Path(model)) for model in models)


if __name__ == "__main__":
    raise SystemExit(main())
