"""sentence-transformers' `CrossEncoder.predict`, in its own environment.

    PYTHON -m benchmarks.peers.crossencoder MODEL DTYPE THREADS [DEVICE]

All pairs of all jobs in one call: it sorts them by length, whichever job they are of.
"""

from __future__ import annotations

import sys

import torch
from sentence_transformers import CrossEncoder

from benchmarks.peers.lines import serve, timed

Job = tuple[str, list[str]]


class Peer:
    """Scores all pairs in batches of one size."""

    def __init__(self, model: str, dtype: torch.dtype, device: str) -> None:
        self._model = CrossEncoder(model, device=device, model_kwargs={"dtype": dtype})

    def __call__(self, jobs: list[Job], batch: int) -> list[float]:
        """Probabilities, in order."""
        pairs = [(query, document) for query, documents in jobs for document in documents]
        found = self._model.predict(pairs, batch_size=batch, show_progress_bar=False)
        return [float(score) for score in found]


def main() -> None:
    model, dtype, threads, *device = sys.argv[1:]
    torch.set_num_threads(int(threads))
    peer = Peer(model, getattr(torch, dtype), device[0] if device else "cpu")
    serve(lambda asked: timed(lambda: peer(asked["jobs"], asked["batch"])))


if __name__ == "__main__":
    main()
