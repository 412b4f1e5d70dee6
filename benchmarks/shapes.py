"""Models with the sizes of real rerankers and random weights, as local directories.

Every contender loads the same directory. The weights are larger than usual, so that documents get
scores that differ and a mistake would show.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.texts import paragraphs

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".bench" / "models"
DEMO = ROOT / "models" / "demo"
QWEN3_VOCABULARY = 32_768  # the demo tokenizer has 8,192; the rest is cost of a full head
SEED = 7

# sentence-transformers renders a pair by this; the last newlines stand in an expression because
# Jinja drops the one a file ends with.
CHAT_TEMPLATE = """\
<|im_start|>system
Judge whether the Document meets the requirements based on the Query and the Instruct provided. \
Note that the answer can only be "yes" or "no".<|im_end|>
<|im_start|>user
<Instruct>: {{ messages | selectattr("role", "eq", "system") | map(attribute="content") | first \
| default("Given a web search query, retrieve relevant passages that answer the query", true) }}
<Query>: {{ messages | selectattr("role", "eq", "query") | map(attribute="content") | first }}
<Document>: {{ messages | selectattr("role", "eq", "document") | map(attribute="content") \
| first }}<|im_end|>
<|im_start|>assistant
<think>

</think>{{ "\\n\\n" }}"""


@dataclass(frozen=True)
class Shape:
    """The sizes that a forward pass costs by.

    Attributes:
        kv_heads: of the grouped-query attention; `heads` where there is none.
        gated: three matrices in the feed-forward part instead of two.
        causal: a decoder with a yes/no head, so that a prefix can be shared.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    gated: bool
    causal: bool
    vocabulary: int

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each linear of one layer."""
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = [(self.hidden, wide), (self.hidden, narrow), (self.hidden, narrow)]
        up = [(self.hidden, self.intermediate)] * (2 if self.gated else 1)
        return [*attention, (wide, self.hidden), *up, (self.intermediate, self.hidden)]


MINILM = Shape("MiniLM-L6", 384, 6, 12, 12, 32, 1536, False, False, 30_522)
QWEN3_512 = Shape("Qwen3-512", 512, 8, 8, 2, 64, 1536, True, True, QWEN3_VOCABULARY)
QWEN3_1024 = Shape("Qwen3-1024", 1024, 4, 16, 8, 128, 3072, True, True, QWEN3_VOCABULARY)
SHAPES = {shape.name.lower(): shape for shape in (MINILM, QWEN3_512, QWEN3_1024)}
DEMO_SHAPE = Shape("demo", 192, 3, 3, 1, 64, 512, True, True, 8_192)


def directory(shape: Shape) -> Path:
    """The model's directory, made if it is not there yet."""
    folder = CACHE / shape.name.lower()
    if shape is DEMO_SHAPE:
        # Copied each time, as it may have been trained anew; it has no template for others to read.
        shutil.copytree(DEMO, folder, dirs_exist_ok=True)
        (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
        return folder
    if not folder.exists():
        draft = folder.with_suffix(".draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        MAKERS[shape.causal](shape, draft)
        draft.rename(folder)
    return folder


def qwen3_config(shape: Shape, **further: Any) -> Any:
    from transformers import Qwen3Config

    options = {"tie_word_embeddings": True, "initializer_range": 0.05} | further
    return Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=8192,
        **options,
    )


def add_qwen3_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder / name)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def _make_qwen3(shape: Shape, folder: Path) -> None:
    import torch
    from transformers import Qwen3ForCausalLM

    torch.manual_seed(SEED)
    Qwen3ForCausalLM(qwen3_config(shape)).save_pretrained(folder)
    add_qwen3_tokenizer(folder)


def _make_bert(shape: Shape, folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=512,
        initializer_range=0.08,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    _train_wordpiece(shape.vocabulary).save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "BertTokenizer",
        "model_max_length": 512,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "model_input_names": ["input_ids", "attention_mask", "token_type_ids"],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def _train_wordpiece(vocabulary: int) -> Any:
    """`[CLS] a [SEP] b [SEP]`, type ids 0 and 1, trained on the texts that are scored."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=min(vocabulary, 8_000), special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(paragraphs(), trainer)
    cls, sep = ((token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(sep, cls)
    return tokenizer


MAKERS: dict[bool, Callable[[Shape, Path], None]] = {True: _make_qwen3, False: _make_bert}
