"""Small models with random weights, one a family, in the layout of the hub."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

ROOT = Path(__file__).resolve().parent.parent
CORPUS = [
    line
    for name in ("LICENSE", "pyproject.toml")
    for line in (ROOT / name).read_text().splitlines()
] + ["naïve café déjà vu", "東京 今日 天気", "Ünïcödé 🙂 ☀️"]

# Random weights of the usual size give scores so close to 0.5 that any mistake would pass.
SPREAD = 0.25


@cache
def bert_tokenizer() -> Tokenizer:
    """WordPiece, `[CLS] a [SEP] b [SEP]`, type ids 0 and 1."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    cls, sep = ((token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(sep, cls)
    return tokenizer


@cache
def xlm_roberta_tokenizer() -> Tokenizer:
    """Unigram, `<s> a </s></s> b </s>`, one type id; the pad token has id 1."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer


@cache
def modernbert_tokenizer() -> Tokenizer:
    """Byte-level BPE, `[CLS] a [SEP] b [SEP]`."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["[PAD]", "[CLS]", "[SEP]"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer


def make_qwen3(folder: Path) -> Path:
    """Qwen3 with grouped-query attention, the demo model's tokenizer, an untied head."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(1)
    demo = ROOT / "models" / "demo"
    config = Qwen3Config(
        vocab_size=json.loads((demo / "config.json").read_text())["vocab_size"],
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=1024,
        initializer_range=SPREAD,
        tie_word_embeddings=False,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(demo / name, folder / name)
    return folder


def make_bert(folder: Path) -> Path:
    """One label, type ids, absolute positions."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(2)
    tokenizer = bert_tokenizer()
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=512,
        initializer_range=SPREAD,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    _save(tokenizer, folder, "BertTokenizer", pad="[PAD]", types=True)
    return folder


def make_xlm_roberta(folder: Path) -> Path:
    """Positions that start behind the padding index, as in bge-reranker-v2-m3."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    torch.manual_seed(3)
    tokenizer = xlm_roberta_tokenizer()
    config = XLMRobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=514,
        initializer_range=SPREAD,
        num_labels=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    _save(tokenizer, folder, "PreTrainedTokenizerFast", pad="<pad>", types=False)
    return folder


def make_modernbert(folder: Path) -> Path:
    """Alternating global and sliding-window attention, two labels."""
    import torch
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    torch.manual_seed(4)
    tokenizer = modernbert_tokenizer()
    config = ModernBertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=512,
        global_attn_every_n_layers=3,
        local_attention=16,
        initializer_range=SPREAD,
        initializer_cutoff_factor=20.0,
        num_labels=2,
        pad_token_id=0,
        cls_token_id=1,
        sep_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
    )
    ModernBertForSequenceClassification(config).save_pretrained(folder)
    _save(tokenizer, folder, "PreTrainedTokenizerFast", pad="[PAD]", types=False)
    return folder


FAMILIES = {
    "qwen3": make_qwen3,
    "bert": make_bert,
    "xlm-roberta": make_xlm_roberta,
    "modernbert": make_modernbert,
}


def _save(tokenizer: Tokenizer, folder: Path, kind: str, *, pad: str, types: bool) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if types else [])
    config = {"tokenizer_class": kind, "pad_token": pad, "model_input_names": names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
