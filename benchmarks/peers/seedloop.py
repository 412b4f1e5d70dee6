"""The reference guide's loop, but with the no token where it has the yes token twice.

    python -m benchmarks.peers.seedloop MODEL DTYPE THREADS

Arrival order, all documents of a job padded to its longest, logits of the whole vocabulary for
every position. A classifier, which the guide does not have, goes through the same loop.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from benchmarks.peers.lines import serve, timed
from tests.reference import DEFAULT, PREFIX, SUFFIX

Job = tuple[str, list[str]]


class SeedLoop:
    """Scores one job at a time."""

    def __init__(self, model: str, dtype: torch.dtype, device: str) -> None:
        self._device = device
        self._tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
        self._yes, self._no = (self._tokenizer.convert_tokens_to_ids(w) for w in ("yes", "no"))
        self._causal = "ForCausalLM" in (Path(model) / "config.json").read_text()
        loader = AutoModelForCausalLM if self._causal else AutoModelForSequenceClassification
        self._model: Any = loader.from_pretrained(model, dtype=dtype).to(device).eval()
        self._most = getattr(self._model.config, "max_position_embeddings", None)

    @torch.inference_mode()
    def __call__(self, job: Job) -> list[float]:
        """Probabilities, in order."""
        query, documents = job
        return self._yes_no(query, documents) if self._causal else self._pairs(query, documents)

    def _yes_no(self, query: str, documents: list[str]) -> list[float]:
        texts = [
            f"{PREFIX}<Instruct>: {DEFAULT}\n<Query>: {query}\n<Document>: {document}{SUFFIX}"
            for document in documents
        ]
        inputs = self._tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        last = self._model(**inputs.to(self._device)).logits[:, -1, :]
        both = torch.stack([last[:, self._no], last[:, self._yes]], dim=1)
        return torch.softmax(both.float(), dim=1)[:, 1].tolist()

    def _pairs(self, query: str, documents: list[str]) -> list[float]:
        inputs = self._tokenizer(
            [query] * len(documents),
            documents,
            padding=True,
            padding_side="right",
            truncation="only_second",
            max_length=self._most,
            return_tensors="pt",
        )
        logits = self._model(**inputs.to(self._device)).logits.float()
        return torch.sigmoid(logits[:, 0]).tolist()


def main() -> None:
    model, dtype, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    loop = SeedLoop(model, getattr(torch, dtype), "cpu")
    serve(lambda asked: timed(lambda: [score for job in asked["jobs"] for score in loop(job)]))


if __name__ == "__main__":
    main()
