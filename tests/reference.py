"""The scores as transformers itself gives them: one pair at a time, no batching, float32.

Written from the model cards, sharing no code with the worker.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

DEFAULT = "Given a web search query, retrieve relevant passages that answer the query"
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


class Reference:
    """P(relevant) of one pair."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.causal = "ForCausalLM" in (folder / "config.json").read_text()
        loader = AutoModelForCausalLM if self.causal else AutoModelForSequenceClassification
        self.model = loader.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.inference_mode()
    def __call__(self, query: str, document: str, instruction: str | None = None) -> float:
        return (
            self._yes_no(query, document, instruction)
            if self.causal
            else self._pair(query, document)
        )

    def _yes_no(self, query: str, document: str, instruction: str | None) -> float:
        body = f"<Instruct>: {instruction or DEFAULT}\n<Query>: {query}\n<Document>: {document}"
        ids = [
            i
            for part in (PREFIX, body, SUFFIX)
            for i in self.tokenizer(part, add_special_tokens=False)["input_ids"]
        ]
        logits = self.model(input_ids=torch.tensor([ids])).logits[:, -1, :]
        no, yes = (self.tokenizer.convert_tokens_to_ids(word) for word in ("no", "yes"))
        both = torch.stack([logits[:, no], logits[:, yes]], dim=1)
        return float(torch.nn.functional.log_softmax(both, dim=1)[:, 1].exp())

    def _pair(self, query: str, document: str) -> float:
        # As lists, like the model cards: a lone empty string would count as no second sequence.
        inputs = self.tokenizer([query], [document], return_tensors="pt")
        logits = self.model(**inputs).logits
        if logits.shape[1] == 1:
            return float(torch.sigmoid(logits)[0, 0])
        return float(torch.softmax(logits, dim=1)[0, 1])
