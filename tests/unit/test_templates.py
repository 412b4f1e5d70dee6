"""Token ids, exactly as the model's reference makes them, and truncation of the document only."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.models import bert_tokenizer, modernbert_tokenizer, xlm_roberta_tokenizer
from worker.engine.interface import Unscorable
from worker.engine.templates import Limits, Qwen3Template, SequencePairTemplate

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "data" / "qwen3-golden.json").read_text())
QWEN3 = Tokenizer.from_str(json.dumps(GOLDEN["tokenizer"]))
DEMO = Tokenizer.from_file(str(ROOT / "models" / "demo" / "tokenizer.json"))
WIDE = Limits(pair=8192, query=0)

# The first case written out, so that the file cannot drift unseen.
CAPITAL_OF_CHINA = [
    151644,
    8948,
    198,
    60256,
    3425,
    279,
    11789,
    20027,
    279,
    8502,
    3118,
    389,
    279,
    11361,
    323,
    279,
    758,
    1235,
    3897,
    13,
    7036,
    429,
    279,
    4226,
    646,
    1172,
    387,
    330,
    9693,
    1,
    476,
    330,
    2152,
    3263,
    151645,
    198,
    151644,
    872,
    198,
    27,
    641,
    1235,
    26818,
    16246,
    264,
    3482,
    2711,
    3239,
    11,
    17179,
    9760,
    46769,
    429,
    4226,
    279,
    3239,
    198,
    27,
    2859,
    26818,
    3555,
    374,
    279,
    6722,
    315,
    5616,
    5267,
    75692,
    26818,
    576,
    6722,
    315,
    5616,
    374,
    26549,
    13,
    151645,
    198,
    151644,
    77091,
    198,
    151667,
    271,
    151668,
    271,
]


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["query"])
def test_qwen3_ids_are_the_model_card_s(case: dict[str, Any]) -> None:
    (pair,) = Qwen3Template(QWEN3).encode(
        case["query"], case["instruction"], [case["document"]], WIDE
    )
    assert list(pair.shared + pair.own) == case["ids"]
    assert not pair.truncated


def test_the_first_golden_case_is_what_it_was() -> None:
    assert GOLDEN["cases"][0]["ids"] == CAPITAL_OF_CHINA
    assert CAPITAL_OF_CHINA[-9:] == [151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]
    assert QWEN3.token_to_id("yes") == 9693
    assert QWEN3.token_to_id("no") == 2152


text = st.text(st.characters(codec="utf-8", exclude_characters="<|>"), max_size=80)


@given(query=text.filter(str.strip), document=text)
def test_parts_join_to_the_whole(query: str, document: str) -> None:
    """On the demo vocabulary, which has Qwen3's pre-tokenizer: any unicode."""
    (pair,) = Qwen3Template(DEMO).encode(query, "find it", [document], WIDE)
    body = f"<Instruct>: find it\n<Query>: {query}\n<Document>: {document}"
    whole = DEMO.encode(body, add_special_tokens=False).ids
    ids = list(pair.shared + pair.own)
    prefix = len(DEMO.encode(CHAT_HEAD, add_special_tokens=False).ids)
    assert ids[prefix : prefix + len(whole)] == whole


CHAT_HEAD = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)


def test_only_the_document_is_cut() -> None:
    template = Qwen3Template(DEMO)
    (whole,) = template.encode("a query", None, ["word " * 50], WIDE)
    limit = whole.length - 20
    (cut,) = template.encode("a query", None, ["word " * 50], Limits(limit, 0))
    assert cut.truncated
    assert cut.length == limit
    assert cut.shared == whole.shared
    suffix = whole.own[-9:]
    assert cut.own[-9:] == suffix
    assert whole.own[: len(cut.own) - 9] == cut.own[:-9]


def test_a_query_that_leaves_no_room_is_refused_with_its_limit() -> None:
    with pytest.raises(Unscorable) as caught:
        Qwen3Template(DEMO).encode("word " * 200, None, ["d"], Limits(256, 0))
    problem = caught.value.problem
    assert (problem.code, problem.field) == ("query_too_long", "query")
    assert isinstance(problem.limit, int)
    fitting = "word " * (problem.limit - 2)
    assert Qwen3Template(DEMO).encode(fitting, None, ["d"], Limits(256, 0))
    with pytest.raises(Unscorable, match="the limit is 3"):
        Qwen3Template(DEMO).encode("one two three four", None, ["d"], Limits(8192, 3))


@pytest.mark.parametrize(
    "make", [bert_tokenizer, xlm_roberta_tokenizer, modernbert_tokenizer], ids=lambda f: f.__name__
)
@given(query=text.filter(str.strip), document=text)
def test_sequence_pairs_are_the_tokenizer_s_own(make: Any, query: str, document: str) -> None:
    tokenizer = make()
    template = SequencePairTemplate(tokenizer)
    (pair,) = template.encode(query, None, [document], WIDE)
    whole = tokenizer.encode(query, document)
    assert list(pair.shared + pair.own) == whole.ids
    first, second = template.types
    assert [first] * len(pair.shared) + [second] * len(pair.own) == whole.type_ids


def test_a_classifier_refuses_an_instruction() -> None:
    with pytest.raises(Unscorable, match="takes none"):
        SequencePairTemplate(bert_tokenizer()).encode("q", "do it", ["d"], WIDE)
