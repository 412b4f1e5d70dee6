"""Which models are served, by their config and by what sentence-transformers saved with them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rerankq.settings import Settings
from tests.models import CHAT_TEMPLATE, FAMILIES, make_bert, saved_files
from worker.engine.batch import Batch
from worker.engine.interface import Pair
from worker.engine.loading import load
from worker.engine.padded import PaddedCausal
from worker.engine.parts import Parts, parts_of
from worker.engine.saved import Saved, saved_by
from worker.engine.spec import Head, Kind, UnsupportedModel, kind_of
from worker.engine.templates import Limits

SCORED = Saved(modules=("Transformer", "LogitScore"), head=Head(1, 2), message_format="flat")
CHATTING = Saved(modules=("Transformer",), message_format="flat")
LISTED = r"supported: Qwen3ForCausalLM.*bge-reranker-v2-gemma.*xlm-roberta"


def config(architecture: str, model_type: str = "", **more: Any) -> Any:
    values = {"num_labels": 1, "pad_token_id": 0, "auto_map": None} | more
    return SimpleNamespace(architectures=[architecture], model_type=model_type, **values)


def classifier(model_type: str, **more: Any) -> Any:
    return config("XForSequenceClassification", model_type, **more)


@pytest.mark.parametrize(
    ("given", "saved", "kind"),
    [
        (config("Qwen3ForCausalLM"), Saved(), Kind.CAUSAL_YES_NO),
        (config("Qwen2ForCausalLM"), Saved(), Kind.CAUSAL_YES_NO),
        (config("GemmaForCausalLM"), Saved(), Kind.CAUSAL_YES_NO),
        (config("LlamaForCausalLM"), SCORED, Kind.CAUSAL_YES_NO),
        (config("Qwen3ForSequenceClassification", "qwen3"), Saved(), Kind.CLASSIFIER),
        (config("LlamaForSequenceClassification", "llama"), CHATTING, Kind.CLASSIFIER),
        (classifier("electra", num_labels=2), Saved(), Kind.CLASSIFIER),
    ],
)
def test_what_is_served(given: Any, saved: Saved, kind: Kind) -> None:
    assert kind_of(given, saved, trusted=False) is kind


@pytest.mark.parametrize(
    ("given", "saved", "why"),
    [
        (config("GPT2LMHeadModel"), Saved(), LISTED),
        (config("LlamaForCausalLM"), Saved(), LISTED),
        (config("Gemma2ForCausalLM"), SCORED, LISTED),
        (config("Qwen3ForCausalLM"), CHATTING, LISTED),
        (config("BertModel"), Saved(modules=("Transformer", "Pooling")), "Pooling.*" + LISTED),
        (classifier("llama"), Saved(), "not known.*" + LISTED),
        (classifier("t5"), Saved(), "not known.*" + LISTED),
        (config("Qwen3ForSequenceClassification", "qwen3", pad_token_id=None), Saved(), "pad_tok"),
        (classifier("bert", num_labels=3), Saved(), "3 labels"),
        (
            classifier("xlm-roberta", auto_map={"AutoModelForSequenceClassification": "x.Y"}),
            Saved(),
            "RERANKQ_TRUST_REMOTE_CODE",
        ),
    ],
)
def test_what_is_refused(given: Any, saved: Saved, why: str) -> None:
    with pytest.raises(UnsupportedModel, match=why):
        kind_of(given, saved, trusted=False)


def test_code_of_its_own_runs_when_it_is_trusted() -> None:
    given = classifier("new", auto_map={"AutoModelForSequenceClassification": "modeling.New"})
    assert kind_of(given, Saved(), trusted=True) is Kind.CLASSIFIER


def read(**files: Any) -> Saved:
    """Keys: `transformer`, `prompts`, `head`: the files; `folder`: where the last one lies."""
    kinds = {"Transformer": "", "LogitScore": files.get("folder", "LogitScore")}
    modules = [{"type": f"a.b.{name}", "path": path} for name, path in kinds.items()]
    contents = {
        "modules.json": modules,
        "sentence_bert_config.json": files.get("transformer"),
        "config_sentence_transformers.json": files.get("prompts"),
        "LogitScore/config.json": files.get("head", {"true_token_id": 5}),
    }
    return saved_by(contents.get)


def test_what_was_saved_is_read() -> None:
    saved = read(
        transformer={
            "transformer_task": "text-generation",
            "modality_config": {"text": {}, "message": {"format": "structured"}},
            "max_seq_length": 512,
            "processing_kwargs": {
                "text": {"max_length": 256},
                "chat_template": {"enable_thinking": False, "max_length": 256},
            },
        },
        prompts={"default_prompt_name": "query", "prompts": {"query": "find", "other": "no"}},
        head={"true_token_id": 9, "false_token_id": 0},
    )
    assert saved == Saved(
        modules=("Transformer", "LogitScore"),
        head=Head(9, 0),
        message_format="structured",
        template_options={"enable_thinking": False},
        prompt="find",
        max_length=256,
    )
    assert read(head={"true_token_id": 5, "false_token_id": None}).head == Head(5, None)
    assert saved_by(lambda name: None) == Saved()


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"transformer": {"do_lower_case": True}}, "do_lower_case"),
        ({"transformer": {"transformer_task": "any-to-any"}}, "any-to-any.*" + LISTED),
        ({"head": None}, "no true_token_id"),
        ({"folder": ".."}, "no folder"),
        ({"folder": "/etc"}, "no folder"),
    ],
)
def test_what_was_saved_and_cannot_be_done_is_refused(files: Any, why: str) -> None:
    with pytest.raises(UnsupportedModel, match=why):
        read(**files)


def loaded_parts(folder: Path, **settings: Any) -> Parts:
    settings = {"model": str(folder), "device": "cpu"} | settings
    return parts_of(load(Settings(**settings)), Settings(**settings))


def ids(parts: Parts, query: str, document: str, told: str | None = None) -> Pair:
    (pair,) = parts.template.encode(query, told, [document], Limits(parts.max_length, 0))
    return pair


def test_the_head_and_the_limits_of_a_saved_model(tmp_path: Path) -> None:
    folder = FAMILIES["chat"](tmp_path)
    parts = loaded_parts(folder)
    assert parts.head == Head(300, 400)
    assert parts.template.takes_instruction
    assert parts.max_length == 1024
    assert re.fullmatch("log-odds of .+ over .+", parts.score_space)
    edit(folder / "sentence_bert_config.json", max_seq_length=100)
    assert loaded_parts(folder).max_length == 100


def test_a_default_prompt_is_the_system_message_unless_one_is_given(tmp_path: Path) -> None:
    folder = FAMILIES["chat"](tmp_path)
    told = ids(loaded_parts(folder), "q", "d", "find it")
    bare = ids(loaded_parts(folder), "q", "d")
    prompts = {"default_prompt_name": "p", "prompts": {"p": "find it"}}
    edit(folder / "config_sentence_transformers.json", **prompts)
    parts = loaded_parts(folder)
    assert ids(parts, "q", "d") == told != bare
    assert ids(parts, "q", "d", "answer") == bare


def test_a_classifier_s_default_prompt_stands_before_the_query(tmp_path: Path) -> None:
    folder = make_bert(tmp_path)
    plainly = ids(loaded_parts(folder), "find: q", "d")
    saved_files(folder, "", head=None, default_prompt_name="p", prompts={"p": "find: "})
    edit(folder / "sentence_bert_config.json", modality_config={"text": {}})
    assert ids(loaded_parts(folder), "q", "d") == plainly


def test_control_tokens_are_text_unless_the_reference_s_way_is_wanted(tmp_path: Path) -> None:
    folder = make_bert(tmp_path)
    separator = 3
    for mode, count in (("text", 2), ("reference", 3)):
        pair = ids(loaded_parts(folder, control_tokens=mode), "q", "a [SEP] b")
        assert [*pair.shared, *pair.own].count(separator) == count


def test_a_tokenizer_s_own_limit_holds(tmp_path: Path) -> None:
    folder = make_bert(tmp_path)
    assert loaded_parts(folder).max_length == 512
    edit(folder / "tokenizer_config.json", model_max_length=128)
    assert loaded_parts(folder).max_length == 128
    assert loaded_parts(folder, max_length=64).max_length == 64


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = FAMILIES["qwen3"](tmp_path)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    settings = Settings(model=str(folder), device="cpu")
    with pytest.raises(UnsupportedModel, match=r"no tokenizer\.json"):
        parts_of(load(settings), settings)


def test_messages_without_a_chat_template_are_refused(tmp_path: Path) -> None:
    folder = FAMILIES["chat"](tmp_path)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UnsupportedModel, match="no chat template"):
        loaded_parts(folder)


def test_a_chat_template_is_part_of_the_revision(tmp_path: Path) -> None:
    folder = FAMILIES["chat"](tmp_path)
    revisions = {load(Settings(model=str(folder), device="cpu")).revision}
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("Task", "Goal"))
    revisions.add(load(Settings(model=str(folder), device="cpu")).revision)
    edit(folder / "1_LogitScore" / "config.json", true_token_id=301)
    revisions.add(load(Settings(model=str(folder), device="cpu")).revision)
    assert len(revisions) == 3


def test_a_positive_token_alone_is_its_logit() -> None:
    head = torch.nn.Linear(2, 2, bias=False)
    head.weight.data = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    model = SimpleNamespace(
        base_model=lambda **inputs: SimpleNamespace(last_hidden_state=torch.ones(1, 1, 2)),
        get_output_embeddings=lambda: head,
        get_input_embeddings=lambda: head,
    )
    ids = torch.zeros(1, 1, dtype=torch.int64)
    inputs = Batch({"input_ids": ids, "last": torch.tensor([0])})
    assert PaddedCausal(model, Head(1, None))(inputs).tolist() == [8.0]
    assert PaddedCausal(model, Head(1, 0))(inputs).tolist() == [5.0]


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
