"""Train the small reranker in models/demo from Debian package descriptions, on a CPU.

    python -m scripts.train_demo_model --output models/demo
    python -m scripts.train_demo_model --output models/demo --evaluate-only

The model is a tiny Qwen3 scored exactly as Qwen3-Reranker is: the same prompt, and the sigmoid of
the difference between the "yes" and "no" logits at the last position. Three losses are added up:
which of the documents is the relevant one (cross-entropy over the list), is each document relevant
(so that the score means something alone), and, for each token of a document, does it occur in the
query. Without the last, a small model sits at chance for a thousand steps; its probe is dropped
when the model is saved.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DynamicCache,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from scripts.demo_batches import NEGATIVES, Batch, BatchMaker
from scripts.demo_data import (
    INSTRUCTION,
    PREFIX,
    SUFFIX,
    VOCABULARY,
    LexicalIndex,
    ListSampler,
    Pair,
    body_head,
    read_pairs,
    split_pairs,
    train_tokenizer,
)

MEASURED = "## Measured\n"


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(args.threads)
    train, held_out = split_pairs(read_pairs())
    minutes = 0.0 if args.evaluate_only else train_and_save(args, train, held_out)
    numbers = evaluate_folder(args.output, held_out)
    print(json.dumps(numbers))
    if not args.evaluate_only:
        note_in_card(args, len(train), minutes, numbers)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the demo reranker.")
    parser.add_argument("--output", type=Path, default=Path("models/demo"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop by then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--save-every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--evaluate-only", action="store_true", help="measure the saved folder")
    return parser.parse_args()


def train_and_save(args: argparse.Namespace, train: list[Pair], held_out: list[Pair]) -> float:
    """Train, with a checkpoint now and then; returns the minutes it took."""
    started = time.monotonic()
    torch.manual_seed(args.seed)
    tokenizer = train_tokenizer(train)
    model = new_model(tokenizer)
    batches = BatchMaker(tokenizer, ListSampler(train, args.seed), args.seed)
    for step in training_steps(model, batches, args):
        if step % args.save_every == 0:
            save(model, tokenizer, args.output)
            print(f"step {step}: saved, {evaluate_folder(args.output, held_out[:60])}", flush=True)
    save(model, tokenizer, args.output)
    return (time.monotonic() - started) / 60


def new_model(tokenizer: Any) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=64,
        initializer_range=0.07,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    # On a CPU and at this width, plain attention trains a third faster than the fused kernel.
    config._attn_implementation = "eager"
    model = Qwen3ForCausalLM(config)
    for layer in model.model.layers:
        # One head of each layer starts with queries equal to its keys, so that a token looks at
        # its own copies from the first step instead of finding out in the first thousand.
        attention = layer.self_attn
        attention.q_proj.weight.data[: config.head_dim] = attention.k_proj.weight.data
    return model


def training_steps(
    model: Qwen3ForCausalLM, batches: BatchMaker, args: argparse.Namespace
) -> Iterator[int]:
    """Train, yielding the number of each finished step."""
    probe = nn.Linear(model.config.hidden_size, 1)
    parameters = [*model.parameters(), *probe.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
    started, progress, step = time.monotonic(), 0.0, 0
    while progress < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, step)
        losses = list_losses(model, probe, batches, batches.draw(progress))
        total = losses[0] + 0.3 * losses[1] + (1.0 - 0.7 * progress) * losses[2]
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        elapsed = time.monotonic() - started
        progress = max(step / args.steps, elapsed / 60 / args.minutes)
        if step % 20 == 0:
            print(f"{step} {elapsed:.0f}s", *(f"{loss.item():.3f}" for loss in losses), flush=True)
        yield step


def learning_rate(progress: float, step: int) -> float:
    """A short warm-up, then a straight line down to nothing."""
    return 1.5e-3 * min((step + 1) / 100, 1.0 - 0.98 * progress)


def list_losses(
    model: Qwen3ForCausalLM, probe: nn.Linear, batches: BatchMaker, batch: Batch
) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of a batch: over the list, of each document alone, of each document token."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        last, middle = run_segments(model, batches.prefix, batch)
    occurs = probe(middle.float())[..., 0]
    answers = model.model.embed_tokens.weight
    margin = last.float() @ (answers[batches.yes] - answers[batches.no])
    margins = margin.view(-1, 1 + NEGATIVES)
    relevant = torch.zeros_like(margins)
    relevant[:, 0] = 1.0
    first = torch.zeros(len(margins), dtype=torch.long)
    word = batch.occurs >= 0
    return (
        functional.cross_entropy(margins, first),
        functional.binary_cross_entropy_with_logits(
            margins, relevant, pos_weight=torch.tensor(2.0)
        ),
        functional.binary_cross_entropy_with_logits(
            occurs[word], batch.occurs[word].float(), pos_weight=torch.tensor(3.0)
        ),
    )


def run_segments(model: Qwen3ForCausalLM, prefix: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Hidden states of the last position, and of the documents one layer before the end.

    The prefix is read once, each query once, and its documents all go on from that cache, through
    which the gradients flow: half of the tokens of a step would otherwise be repeats.
    """
    cache = DynamicCache(config=model.config)
    model.model(input_ids=prefix, past_key_values=cache)
    cache.batch_repeat_interleave(len(batch.queries.ids))
    mask = torch.cat([torch.ones(len(batch.queries.ids), prefix.shape[1]), batch.queries.mask], 1)
    run_segment(model, batch.queries.ids, mask, cache)
    cache.batch_repeat_interleave(1 + NEGATIVES)
    mask = torch.cat([mask.repeat_interleave(1 + NEGATIVES, 0), batch.documents.mask], 1)
    states = run_segment(model, batch.documents.ids, mask, cache)
    return states[-1][:, -1], states[-2]


def run_segment(
    model: Qwen3ForCausalLM, ids: Tensor, mask: Tensor, cache: DynamicCache
) -> tuple[Tensor, ...]:
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :].long()
    output = model.model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        output_hidden_states=True,
    )
    states: tuple[Tensor, ...] = output.hidden_states
    return states


def save(model: Qwen3ForCausalLM, tokenizer: Any, output: Path) -> None:
    """Write the folder beside its place and swap it in: a reader never sees half a model."""
    fresh, old = output.with_name(output.name + ".new"), output.with_name(output.name + ".old")
    shutil.rmtree(fresh, ignore_errors=True)
    weights = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items()}
    weights.pop("lm_head.weight", None)
    model.save_pretrained(fresh, state_dict=weights)
    tokenizer.save_pretrained(fresh)
    # The weights are written readable by their owner alone; the folder is there to be shared.
    (fresh / "model.safetensors").chmod(0o644)
    card = output / "README.md"
    if card.exists():
        shutil.copy(card, fresh)
    if output.exists():
        output.rename(old)
    fresh.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def note_in_card(
    args: argparse.Namespace, pairs: int, minutes: float, numbers: dict[str, float]
) -> None:
    """Put the run and its numbers at the end of the card, in place of those of the last run."""
    card = args.output / "README.md"
    prose = card.read_text().partition(MEASURED)[0] if card.exists() else ""
    run = {"steps": args.steps, "seed": args.seed, "minutes": round(minutes), "pairs": pairs}
    card.write_text(f"{prose}{MEASURED}\n```json\n{json.dumps(run | numbers, indent=2)}\n```\n")


def evaluate_folder(folder: Path, held_out: list[Pair]) -> dict[str, float]:
    """Load the folder as any user would, then rank each held-out description among 19 others."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rng = random.Random(0)
    index = LexicalIndex(held_out)
    rankings: dict[str, list[int]] = {"random": [], "lexical": []}
    for pair in held_out:
        others = [other for other in held_out if other is not pair]
        alike = index.similar(pair.query, pair.family, 19, rng)
        rest = [other for other in others if other not in alike]
        drawn = {
            "random": rng.sample(others, 19),
            "lexical": alike + rng.sample(rest, 19 - len(alike)),
        }
        for kind, negatives in drawn.items():
            documents = [pair.document, *(other.document for other in negatives)]
            rankings[kind].append(rank_of_first(score(model, tokenizer, pair.query, documents)))
    return {
        f"{name}_{kind}": round(value, 4)
        for kind, ranks in rankings.items()
        for name, value in (
            ("top1", sum(rank == 1 for rank in ranks) / len(ranks)),
            ("mrr", sum(1 / rank for rank in ranks) / len(ranks)),
        )
    }


def rank_of_first(scores: list[float]) -> int:
    """The rank of the first document; a tie counts against it."""
    return sum(score >= scores[0] for score in scores)


@torch.inference_mode()
def score(
    model: Any,
    tokenizer: Any,
    query: str,
    documents: list[str],
    instruction: str = INSTRUCTION,
) -> list[float]:
    """The recipe of Qwen3-Reranker's model card, word for word and without any shortcut."""
    head = PREFIX + body_head(instruction, query)
    texts = [f"{head} {document}{SUFFIX}" for document in documents]
    encoded = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    logits = model(**encoded, logits_to_keep=1).logits[:, -1]
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    scores: list[float] = torch.sigmoid(logits[:, yes] - logits[:, no]).tolist()
    return scores


if __name__ == "__main__":
    main()
