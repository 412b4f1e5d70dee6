"""The scores as transformers itself gives them: one pair at a time, no batching, float32.

Written from the model cards, sharing no code with the worker.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from rerankq.scores import sigmoid

DEFAULT = "Given a web search query, retrieve relevant passages that answer the query"
PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
MXBAI_PREFIX = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    "<|im_end|>\n<|im_start|>user\n"
)
MXBAI_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
MXBAI_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For "
    "each query-document pair, carefully analyze the semantic relationship between them, then "
    "provide your binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
)
GEMMA_TASK = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the "
    "query by providing a prediction of either 'Yes' or 'No'."
)


class Reference:
    """P(relevant) of one pair, and its log-odds."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        (self.architecture,) = config["architectures"]
        causal = self.architecture.endswith("ForCausalLM")
        loader = AutoModelForCausalLM if causal else AutoModelForSequenceClassification
        self.model = loader.from_pretrained(folder, dtype=torch.float32).eval()
        self.saved = folder / "1_LogitScore" / "config.json"

    def __call__(self, query: str, document: str, instruction: str | None = None) -> float:
        return sigmoid(self.log_odds(query, document, instruction))

    @torch.inference_mode()
    def log_odds(self, query: str, document: str, instruction: str | None = None) -> float:
        if self.saved.exists():
            return self._logit_score(query, document, instruction)
        if self.architecture == "Qwen3ForCausalLM":
            logits = self._last_logits(self._qwen3_ids(query, document, instruction))
            return self._difference(logits, "no", "yes")
        if self.architecture == "Qwen3ForSequenceClassification":
            ids = self._qwen3_ids(query, document, instruction)
            return float(self.model(input_ids=torch.tensor([ids])).logits[0, 0])
        if self.architecture == "Qwen2ForCausalLM":
            logits = self._last_logits(self._mxbai_ids(query, document, instruction))
            return self._difference(logits, "0", "1")
        if self.architecture == "GemmaForCausalLM":
            logits = self._last_logits(self._gemma_ids(query, document, instruction))
            return float(logits[self.tokenizer.convert_tokens_to_ids("Yes")])
        return self._pair(query, document)

    def _ids(self, *parts: str) -> list[int]:
        return [
            i for part in parts for i in self.tokenizer(part, add_special_tokens=False)["input_ids"]
        ]

    def _qwen3_ids(self, query: str, document: str, instruction: str | None) -> list[int]:
        body = f"<Instruct>: {instruction or DEFAULT}\n<Query>: {query}\n<Document>: {document}"
        return self._ids(PREFIX, body, SUFFIX)

    def _mxbai_ids(self, query: str, document: str, instruction: str | None) -> list[int]:
        told = f"instruction: {instruction}\n" if instruction else ""
        asked, found = f"{told}query: {query}", f"document: {document}"
        return self._ids(MXBAI_PREFIX, asked, "\n", found, "\n", MXBAI_TASK, MXBAI_SUFFIX)

    def _gemma_ids(self, query: str, document: str, instruction: str | None) -> list[int]:
        task = instruction or GEMMA_TASK
        return [
            self.tokenizer.bos_token_id,
            *self._ids(f"A: {query}", "\n", f"B: {document}", "\n", task),
        ]

    def _logit_score(self, query: str, document: str, instruction: str | None) -> float:
        messages = [{"role": "system", "content": instruction}] if instruction else []
        messages += [{"role": "query", "content": query}, {"role": "document", "content": document}]
        ids = self.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)
        logits = self._last_logits(ids["input_ids"])
        head = json.loads(self.saved.read_text())
        return float(logits[head["true_token_id"]] - logits[head["false_token_id"]])

    def _last_logits(self, ids: list[int]) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=torch.tensor([ids])).logits[0, -1]
        return logits

    def _difference(self, logits: torch.Tensor, *words: str) -> float:
        both = torch.stack([logits[self.tokenizer.convert_tokens_to_ids(w)] for w in words])
        of = torch.nn.functional.log_softmax(both.double(), dim=0)
        return float(of[1] - of[0])

    def _pair(self, query: str, document: str) -> float:
        # As lists, like the model cards: a lone empty string would count as no second sequence.
        inputs = self.tokenizer([query], [document], return_tensors="pt")
        logits = self.model(**inputs).logits
        if logits.shape[1] == 1:
            return float(logits[0, 0])
        return float(logits[0, 1] - logits[0, 0])
