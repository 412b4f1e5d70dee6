"""The prompt, queries, documents and tokenizer of the demo reranker.

A package description is a one-line synopsis and a few paragraphs: a query and the document that
answers it. ``read_pairs`` finds them in apt's lists, ``split_pairs`` keeps some aside for the
held-out number, and ``ListSampler`` draws what training sees: one query with one relevant document
and several others.
"""

from __future__ import annotations

import random
import re
import subprocess
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre
from transformers import PreTrainedTokenizerFast

PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
VOCABULARY = 8192
END_OF_TEXT = "<|endoftext|>"
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
APT_LISTS = Path("/var/lib/apt/lists")
NO_LISTS = "no package descriptions found: run `apt-get update -o Acquire::Languages=en` first"
WORD = re.compile(r"[^\W_]{2,}")
SENTENCE_END = re.compile(r"(?<=[.!?:])\s+(?=[A-Z])|\n+")
# Not a stop-word list for its own sake: a query drawn from these alone has no right answer.
STOP_TEXT = """
a an and are as at be by can for from has have in into is it its may no not of on or other
package packages contains provides providing provide library files file such than that the
their them there these they this to use used using uses via was when which will with you your
also all any both but do does if more most some so
"""
STOP_WORDS = frozenset(STOP_TEXT.split())
QUESTIONS = (
    "what is {}?",
    "what are {}",
    "how to {}",
    "how do I {}?",
    "how do I get {}?",
    "how can I use {}?",
    "tool for {}",
    "a program for {}",
    "which package provides {}?",
    "which {} is there?",
    "where can I find {}?",
    "who uses {}?",
    "why is {}?",
    "when to use {}",
    "is there {}?",
    "I need {}",
    "I am looking for {}",
    "explain {}",
    "best {}",
    "{}?",
)


@dataclass(frozen=True)
class Pair:
    """A synopsis, the description it summarises, and the family of near-copies it belongs to."""

    query: str
    document: str
    family: str


@dataclass(frozen=True)
class RankingList:
    """One query and its documents; the first document is the relevant one."""

    query: str
    documents: list[str]


def read_pairs() -> list[Pair]:
    """Every informative description in apt's English lists, near-copies thinned out."""
    pairs: dict[str, Pair] = {}
    siblings: dict[str, int] = defaultdict(int)
    for record in _apt_text().split("\n\n"):
        pair = _parse_record(record)
        if pair is None or pair.document in pairs or siblings[pair.family] >= 5:
            continue
        siblings[pair.family] += 1
        pairs[pair.document] = pair
    return list(pairs.values())


def split_pairs(pairs: list[Pair], held_out: int = 500) -> tuple[list[Pair], list[Pair]]:
    """Training pairs and held-out pairs; no family is on both sides, nor twice in the second."""
    train: list[Pair] = []
    reserved: dict[str, Pair] = {}
    queries: set[str] = set()
    for pair in pairs:
        # A checksum, not a shuffle: the split survives a newer package list and any seed.
        if zlib.crc32(pair.family.encode()) % 40:
            train.append(pair)
        elif pair.family not in reserved and pair.query.lower() not in queries:
            reserved[pair.family] = pair
            queries.add(pair.query.lower())
    chosen = sorted(reserved.values(), key=lambda pair: zlib.crc32(pair.document.encode()))
    return train, chosen[:held_out]


def content_words(text: str) -> list[str]:
    return [word for word in WORD.findall(text) if word.lower() not in STOP_WORDS]


class LexicalIndex:
    """Finds documents that share a rare word with a query: the negatives worth learning from."""

    def __init__(self, pairs: list[Pair]) -> None:
        self.pairs = pairs
        self.postings: dict[str, list[int]] = defaultdict(list)
        for index, pair in enumerate(pairs):
            for word in {word.lower() for word in content_words(pair.document)}:
                self.postings[word].append(index)

    def similar(self, query: str, family: str, count: int, rng: random.Random) -> list[Pair]:
        words = [w for w in set(map(str.lower, content_words(query))) if w in self.postings]
        words.sort(key=lambda word: (len(self.postings[word]), word))
        found: list[Pair] = []
        for _ in range(4 * count if words else 0):
            # The rarest word is the most telling; the others keep the negatives varied.
            word = words[0] if rng.random() < 0.5 else rng.choice(words)
            pair = self.pairs[rng.choice(self.postings[word])]
            if pair.family != family and pair not in found and len(found) < count:
                found.append(pair)
        return found


class ListSampler:
    """Draws ranking lists: synopses, questions, sentences and keywords as queries."""

    def __init__(self, pairs: list[Pair], seed: int) -> None:
        self.pairs = pairs
        self.index = LexicalIndex(pairs)
        self.rng = random.Random(seed)

    def draw(self, negatives: int, hard: int, filler: bool) -> RankingList:
        """One list; with ``filler`` its documents are long, of several descriptions each."""
        pair = self.rng.choice(self.pairs)
        sentences = self.rng.choice((0, 0, 0, 1, 2, 3))
        query, document = self._question_and_answer(pair, sentences)
        others = self.index.similar(query, pair.family, hard, self.rng)
        others += self.rng.sample(self.pairs, negatives - len(others))
        documents = [document, *(self._cut(other.document, sentences) for other in others)]
        if filler:
            documents = [self._lengthen(text) for text in documents]
        return RankingList(self._vary_case(query), documents)

    def _question_and_answer(self, pair: Pair, sentences: int) -> tuple[str, str]:
        roll = self.rng.random()
        if roll < 0.6:
            # The opening says what the package is: a later part need not answer its synopsis.
            query = self._synopsis(pair.query) if roll < 0.42 else self._question(pair.query)
            return query, _first_sentences(pair.document, sentences)
        document = self._cut(pair.document, sentences)
        if roll < 0.75:
            return self._sentence(document) or (pair.query, pair.document)
        words = self._keywords(document)
        return (self._question(words) if roll < 0.87 else words), document

    def _synopsis(self, text: str) -> str:
        return re.sub(r"\s*\([^)]*\)", "", text) if self.rng.random() < 0.5 else text

    def _question(self, text: str) -> str:
        text = self._synopsis(text)
        # An acronym keeps its capitals: "GNU" is a word, "gNU" is not.
        lowered = text[:1].lower() + text[1:] if text[1:2].islower() else text
        return self.rng.choice(QUESTIONS).format(lowered)

    def _sentence(self, document: str) -> tuple[str, str] | None:
        """A sentence as the query, taken out of the document half of the time."""
        parts = [part for part in SENTENCE_END.split(document) if len(part) > 20]
        if len(parts) < 2:
            return None
        sentence = self.rng.choice(parts)
        rest = document.replace(sentence, "") if self.rng.random() < 0.5 else document
        return sentence[:200], rest.strip()

    def _keywords(self, document: str) -> str:
        words = content_words(document) or document.split()
        count = min(len(words), self.rng.randint(1, 6))
        start = self.rng.randint(0, len(words) - count)
        near = words[start : start + count]
        chosen = near if self.rng.random() < 0.5 else self.rng.sample(words, count)
        return " ".join(chosen)

    def _cut(self, document: str, sentences: int) -> str:
        parts = SENTENCE_END.split(document)
        if not sentences or len(parts) <= sentences:
            return document
        start = self.rng.randint(0, len(parts) - sentences)
        return " ".join(parts[start : start + sentences])

    def _lengthen(self, text: str) -> str:
        around = [pair.document for pair in self.rng.sample(self.pairs, self.rng.randint(1, 3))]
        around.insert(self.rng.randint(0, len(around)), text)
        return "\n\n".join(around)

    def _vary_case(self, query: str) -> str:
        roll = self.rng.random()
        if roll < 0.3:
            return query.lower()
        return query[:1].upper() + query[1:] if roll < 0.4 else query


def body_head(instruction: str, query: str) -> str:
    """The body up to the document: the space after the colon belongs to the document's tokens."""
    return f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>:"


def train_tokenizer(pairs: list[Pair]) -> Any:
    """A byte-level BPE that cuts text as Qwen3's does, only with a smaller vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre.Split(Regex(QWEN_SPLIT), "isolated")
    byte_level = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    special = [END_OF_TEXT, "<|im_start|>", "<|im_end|>"]
    thinking = ["<think>", "</think>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(special) - len(thinking),
        initial_alphabet=pre.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_corpus(pairs), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in thinking])
    wrap: Any = PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=tokenizer,
        pad_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        padding_side="left",
        model_max_length=8192,
    )


def _tokenizer_corpus(pairs: list[Pair]) -> Iterator[str]:
    for pair in pairs:
        yield f"{pair.query}\n\n{pair.document}"
    for _ in range(2000):
        # The template and the two answers must be cheap in tokens, however rare the words.
        yield f"{PREFIX}{body_head(INSTRUCTION, 'yes')}{SUFFIX}"
        yield "yes"
        yield "no"


def _apt_text() -> str:
    lists = sorted(APT_LISTS.glob("*Translation-en*"))
    if not lists:
        raise SystemExit(NO_LISTS)
    # apt keeps its lists in whatever compression it likes; its own helper reads them all.
    command = ["/usr/lib/apt/apt-helper", "cat-file", *map(str, lists)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _parse_record(record: str) -> Pair | None:
    _, found, description = record.partition("\nDescription-en: ")
    synopsis, _, body = description.partition("\n")
    document = _reflow(body)
    if not found or len(document) < 80 or re.search("transitional|dummy", record):
        return None
    return Pair(synopsis.strip(), document, document[:80].lower())


def _reflow(body: str) -> str:
    """Paragraphs on one line each; a line apt shows verbatim (two spaces) keeps its own."""
    text = re.sub(r"^ \.$", "", body, flags=re.MULTILINE)
    text = re.sub(r"(?<=\S)\n (?=[^\s*\-])", " ", text)
    return "\n".join(line.strip() for line in text.splitlines()).strip()


def _first_sentences(document: str, count: int) -> str:
    parts = SENTENCE_END.split(document)
    return " ".join(parts[:count]) if count else document
