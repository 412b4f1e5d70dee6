"""Ranking lists of the demo model's training as padded batches, harder ones as it goes on."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scripts.demo_data import (
    INSTRUCTION,
    PREFIX,
    SUFFIX,
    VOCABULARY,
    ListSampler,
    RankingList,
    body_head,
)

OTHER_INSTRUCTIONS = (
    "Given a question, retrieve documents that answer it",
    "Find the software package that fits the description",
    "Given a query, retrieve relevant documents",
    "Retrieve the text most relevant to the search terms",
)
NEGATIVES = 5
TOKENS_PER_STEP = 15_000
# (longest document in tokens, how often): short lists teach fast, long ones keep the tail honest.
LENGTHS = ((56, 0.5), (88, 0.27), (160, 0.15), (320, 0.06), (640, 0.02))


@dataclass(frozen=True)
class Segment:
    """Token ids padded on the left, and the mask that says which are real."""

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Batch:
    """Queries (with the instruction) and their documents, ``1 + NEGATIVES`` rows a query."""

    queries: Segment
    documents: Segment
    occurs: Tensor  # does the document token occur in the query: 1, 0, or -1 for not a word


class BatchMaker:
    """Turns ranking lists into padded token ids."""

    def __init__(self, tokenizer: Any, sampler: ListSampler, seed: int) -> None:
        self.tokenizer = tokenizer
        self.sampler = sampler
        self.rng = random.Random(seed)
        self.yes, self.no = tokenizer.convert_tokens_to_ids(["yes", "no"])
        self.prefix = torch.tensor([tokenizer.encode(PREFIX)])
        self.suffix = tokenizer.encode(SUFFIX)
        texts = [tokenizer.decode([index]) for index in range(len(tokenizer))]
        words = {index: text.strip().lower() for index, text in enumerate(texts)}
        self.words = {i: word for i, word in words.items() if word.isalpha() and i < VOCABULARY - 5}

    def draw(self, progress: float) -> Batch:
        """A batch of one document length, harder as training goes on."""
        lengths = LENGTHS if progress > 0.15 else LENGTHS[:1]
        limit = self.rng.choices([n for n, _ in lengths], [share for _, share in lengths])[0]
        count = max(4, TOKENS_PER_STEP // ((1 + NEGATIVES) * (limit + len(self.suffix) + 8)))
        hard = 0 if progress < 0.1 else 2 if progress < 0.4 else 3
        lists = [self.sampler.draw(NEGATIVES, hard, limit >= 320) for _ in range(count)]
        return self.encode(lists, limit)

    def encode(self, lists: list[RankingList], limit: int) -> Batch:
        texts = [" " + text[: limit * 8] for item in lists for text in item.documents]
        documents = [ids[:limit] for ids in self.tokenizer(texts)["input_ids"]]
        heads = [body_head(self.instruction(), item.query) for item in lists]
        queries = self.tokenizer(heads)["input_ids"]
        asked = self.tokenizer([" " + item.query for item in lists])["input_ids"]
        occurs: list[list[int]] = []
        for row, ids in enumerate(documents):
            words = {self.words.get(token) for token in asked[row // (1 + NEGATIVES)]}
            known = [self.words.get(token) for token in ids]
            occurs.append([-1 if word is None else int(word in words) for word in known])
        nothing = [-1] * len(self.suffix)
        return Batch(
            self.pad(queries),
            self.pad([ids + self.suffix for ids in documents]),
            left_padded([row + nothing for row in occurs], -1),
        )

    def instruction(self) -> str:
        return INSTRUCTION if self.rng.random() < 0.8 else self.rng.choice(OTHER_INSTRUCTIONS)

    def pad(self, rows: list[list[int]]) -> Segment:
        mask = left_padded([[1] * len(row) for row in rows], 0)
        return Segment(left_padded(rows, self.tokenizer.pad_token_id), mask.float())


def left_padded(rows: list[list[int]], value: int) -> Tensor:
    width = max(map(len, rows))
    return torch.tensor([[value] * (width - len(row)) + row for row in rows])
