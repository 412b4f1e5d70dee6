"""Small models with random weights, one a family, in the layout of the hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tests.model_tokenizers import (
    bert_tokenizer,
    deberta_tokenizer,
    gemma_tokenizer,
    modernbert_tokenizer,
    xlm_roberta_tokenizer,
)

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "models" / "demo"

# Random weights of the usual size give scores so close to 0.5 that any mistake would pass.
SPREAD = 0.25


def _decoder(**sizes: Any) -> dict[str, Any]:
    """Grouped-query attention, an untied head."""
    return {
        "vocab_size": json.loads((DEMO / "config.json").read_text())["vocab_size"],
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 1024,
        "initializer_range": SPREAD,
        "tie_word_embeddings": False,
    } | sizes


def _demo_tokenizer(folder: Path) -> Path:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder / name)
    return folder


def make_qwen3(folder: Path) -> Path:
    """Qwen3 with the demo model's tokenizer."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(1)
    Qwen3ForCausalLM(Qwen3Config(**_decoder())).save_pretrained(folder)
    return _demo_tokenizer(folder)


def make_chat(folder: Path) -> Path:
    """A fine-tune of Qwen3 as sentence-transformers 6.2 saves it, with a prompt of its own."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(5)
    Qwen3ForCausalLM(Qwen3Config(**_decoder())).save_pretrained(folder)
    _demo_tokenizer(folder)
    saved_files(folder, CHAT_TEMPLATE, head={"true_token_id": 300, "false_token_id": 400})
    return folder


# Written as people write them: the newline at its end is none of the text, and the instruction
# follows the document.
CHAT_TEMPLATE = (
    '{%- set query = messages | selectattr("role", "eq", "query") | map(attribute="content")'
    " | first -%}\n"
    "<|im_start|>user\nSearch: {{ query }}\n"
    '{% for message in messages if message.role == "document" %}\n'
    "Found: {{ message.content }}\n"
    "{% endfor %}\n"
    'Task: {{ messages | selectattr("role", "eq", "system") | map(attribute="content") | first'
    ' | default("answer") }}<|im_end|>\n<|im_start|>assistant\n\n'
)


def saved_files(folder: Path, template: str, *, head: dict[str, int] | None, **config: Any) -> None:
    """What sentence-transformers 6.2 writes beside a model.

    Args:
        config: further entries of config_sentence_transformers.json.
    """
    base = "sentence_transformers.base.modules.transformer.Transformer"
    score = "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"
    modules = [{"idx": 0, "name": "0", "path": "", "type": base}]
    task = "text-generation" if head else "sequence-classification"
    forward = {"method": "forward", "method_output_name": "logits"}
    modality = {"text": forward, "message": forward | {"format": "flat"}}
    files: dict[str, Any] = {
        "modules.json": modules,
        "sentence_bert_config.json": {
            "transformer_task": task,
            "modality_config": modality,
            "module_output_name": "causal_logits" if head else "scores",
        },
        "config_sentence_transformers.json": {
            "activation_fn": "torch.nn.modules.activation.Sigmoid",
            "default_prompt_name": None,
            "model_type": "CrossEncoder",
            "prompts": {},
        }
        | config,
    }
    if head:
        modules.append({"idx": 1, "name": "1", "path": "1_LogitScore", "type": score})
        (folder / "1_LogitScore").mkdir()
        files["1_LogitScore/config.json"] = head | {"module_input_name": "causal_logits"}
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "chat_template.jinja").write_text(template)


def make_qwen3_classifier(folder: Path) -> Path:
    """Qwen3-Reranker with its two answers' rows made one: Qwen3ForSequenceClassification."""
    import torch
    from transformers import Qwen3Config, Qwen3ForSequenceClassification

    torch.manual_seed(6)
    config = Qwen3Config(**_decoder(num_labels=1, pad_token_id=8187))
    Qwen3ForSequenceClassification(config).save_pretrained(folder)
    return _demo_tokenizer(folder)


def make_mxbai(folder: Path) -> Path:
    """mxbai-rerank-v2: Qwen2 that answers 0 or 1."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(7)
    sizes = _decoder(initializer_range=0.15, hidden_size=64)
    del sizes["head_dim"]
    Qwen2ForCausalLM(Qwen2Config(**sizes)).save_pretrained(folder)
    return _demo_tokenizer(folder)


def make_gemma(folder: Path) -> Path:
    """bge-reranker-v2-gemma: the logit of Yes alone, tied rows."""
    import torch
    from transformers import GemmaConfig, GemmaForCausalLM

    torch.manual_seed(8)
    tokenizer = gemma_tokenizer()
    sizes = _decoder(
        vocab_size=tokenizer.get_vocab_size(), tie_word_embeddings=True, initializer_range=SPREAD
    )
    GemmaForCausalLM(GemmaConfig(**sizes)).save_pretrained(folder)
    _save(tokenizer, folder, "PreTrainedTokenizerFast", pad="<pad>", types=False, bos="<bos>")
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


def make_electra(folder: Path) -> Path:
    """A head of two layers over the first token, embeddings narrower than the model."""
    import torch
    from transformers import ElectraConfig, ElectraForSequenceClassification

    torch.manual_seed(9)
    tokenizer = bert_tokenizer()
    config = ElectraConfig(
        vocab_size=tokenizer.get_vocab_size(),
        embedding_size=24,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=512,
        initializer_range=SPREAD,
        num_labels=1,
    )
    ElectraForSequenceClassification(config).save_pretrained(folder)
    _save(tokenizer, folder, "BertTokenizer", pad="[PAD]", types=True)
    return folder


def make_deberta(folder: Path) -> Path:
    """Disentangled attention over relative positions, as in DeBERTa v3."""
    import torch
    from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

    torch.manual_seed(10)
    tokenizer = deberta_tokenizer()
    config = DebertaV2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=512,
        relative_attention=True,
        position_buckets=32,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        position_biased_input=False,
        type_vocab_size=0,
        initializer_range=SPREAD,
        num_labels=1,
    )
    DebertaV2ForSequenceClassification(config).save_pretrained(folder)
    _save(tokenizer, folder, "PreTrainedTokenizerFast", pad="[PAD]", types=True)
    return folder


FAMILIES = {
    "qwen3": make_qwen3,
    "qwen3-classifier": make_qwen3_classifier,
    "chat": make_chat,
    "mxbai": make_mxbai,
    "gemma": make_gemma,
    "bert": make_bert,
    "xlm-roberta": make_xlm_roberta,
    "modernbert": make_modernbert,
    "electra": make_electra,
    "deberta": make_deberta,
}


def _save(
    tokenizer: Tokenizer, folder: Path, kind: str, *, pad: str, types: bool, **more: str
) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if types else [])
    config = {"tokenizer_class": kind, "pad_token": pad, "model_input_names": names}
    config |= {f"{name}_token": token for name, token in more.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
