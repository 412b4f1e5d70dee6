"""Qwen3-Reranker's own sizes with random weights, made on the device that will run them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Qwen3ForCausalLM

from benchmarks.shapes import SEED, Shape, add_qwen3_tokenizer, qwen3_config

VOCABULARY = 151_669

# Sizes of the published config.json files of Qwen/Qwen3-Reranker-0.6B, -4B and -8B.
SIZES = {
    "0.6b": Shape("Qwen3-Reranker-0.6B", 1024, 28, 16, 8, 128, 3072, True, True, VOCABULARY),
    "4b": Shape("Qwen3-Reranker-4B", 2560, 36, 32, 8, 128, 9728, True, True, VOCABULARY),
    "8b": Shape("Qwen3-Reranker-8B", 4096, 36, 32, 8, 128, 12288, True, True, VOCABULARY),
}
UNTIED = {"8b"}  # its head is not its embedding
TINY = Shape("tiny", 64, 2, 4, 2, 16, 128, True, True, 8_192)


def make(size: str, folder: Path, device: torch.device, dtype: torch.dtype) -> Shape:
    """Write the model's directory; returns its shape. 8B: 16 GB in bfloat16."""
    shape = SIZES.get(size, TINY)
    config = qwen3_config(shape, tie_word_embeddings=size not in UNTIED, initializer_range=0.02)
    torch.manual_seed(SEED)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = Qwen3ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    add_qwen3_tokenizer(folder)
    return shape
