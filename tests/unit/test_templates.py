"""Token ids, exactly as the model's reference makes them, and truncation of the document only."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tests.model_tokenizers import (
    bert_tokenizer,
    deberta_tokenizer,
    gemma_tokenizer,
    modernbert_tokenizer,
    xlm_roberta_tokenizer,
)
from worker.engine import documents
from worker.engine.chat import prompt_of
from worker.engine.documents import ENTRY_TOKENS, DocumentTokens
from worker.engine.interface import Pair, Unscorable
from worker.engine.layout import Prompt
from worker.engine.plain import control_tokens, plain
from worker.engine.registry import GEMMA, GEMMA_TASK, MXBAI, MXBAI_TASK, QWEN3
from worker.engine.spec import UnsupportedModel
from worker.engine.templates import Limits, Template, ids_of
from worker.engine.templates_pair import SequencePairTemplate
from worker.engine.templates_prompt import PromptTemplate

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "data" / "qwen3-golden.json").read_text())
TRUE_QWEN3 = Tokenizer.from_str(json.dumps(GOLDEN["tokenizer"]))
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


def prompted(prompt: Prompt, tokenizer: Tokenizer, mode: str = "text") -> PromptTemplate:
    texts = plain(tokenizer, prompt.constants) if mode == "text" else tokenizer
    return PromptTemplate(prompt, tokenizer, texts)


def joined(pair: Pair) -> list[int]:
    return [*pair.shared, *pair.own]


@pytest.mark.parametrize(("mode", "ids"), [("reference", "ids"), ("text", "plain_ids")])
@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["query"])
def test_qwen3_ids_are_the_model_card_s(case: dict[str, Any], mode: str, ids: str) -> None:
    (pair,) = prompted(QWEN3.prompt, TRUE_QWEN3, mode).encode(
        case["query"], case["instruction"], [case["document"]], WIDE
    )
    assert joined(pair) == case[ids]
    assert not pair.truncated


def test_the_first_golden_case_is_what_it_was() -> None:
    assert GOLDEN["cases"][0]["ids"] == CAPITAL_OF_CHINA
    assert CAPITAL_OF_CHINA[-9:] == [151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]
    assert TRUE_QWEN3.token_to_id("yes") == 9693
    assert TRUE_QWEN3.token_to_id("no") == 2152


def test_what_the_last_golden_case_would_do() -> None:
    """Read as tokens it ends the document and answers for the model; as text it does not."""
    case = GOLDEN["cases"][-1]
    ours = GOLDEN["cases"][0]["plain_ids"]
    for token in (151644, 151645, 151667, 151668):
        assert case["plain_ids"].count(token) == ours.count(token) < case["ids"].count(token)


CHAT_HEAD = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
CHAT_TAIL = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
USER = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."


def qwen3_parts(told: str | None, query: str, document: str) -> list[str]:
    task = told or "Given a web search query, retrieve relevant passages that answer the query"
    body = f"<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}"
    return [CHAT_HEAD, body, CHAT_TAIL]


def mxbai_parts(told: str | None, query: str, document: str) -> list[str]:
    asked = f"instruction: {told}\nquery: {query}" if told else f"query: {query}"
    head, tail = f"{USER}<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
    return [head, asked, "\n", f"document: {document}", "\n", MXBAI_TASK, tail]


def gemma_parts(told: str | None, query: str, document: str) -> list[str]:
    return ["<bos>", f"A: {query}", "\n", f"B: {document}", "\n", told or GEMMA_TASK]


def chat_text(told: str | None, query: str, document: str) -> str:
    """What tests.models.CHAT_TEMPLATE renders to."""
    body = f"Search: {query}\nFound: {document}\nTask: {told or 'answer'}"
    return f"<|im_start|>user\n{body}<|im_end|>\n<|im_start|>assistant\n"


def chat_parts(told: str | None, query: str, document: str) -> list[str]:
    return [chat_text(told, query, document)]


Parts = Callable[[str | None, str, str], list[str]]
PROMPTS: dict[str, tuple[Prompt, Tokenizer, Parts]] = {
    "qwen3": (QWEN3.prompt, DEMO, qwen3_parts),
    "mxbai": (MXBAI.prompt, DEMO, mxbai_parts),
    "gemma": (GEMMA.prompt, gemma_tokenizer(), gemma_parts),
    "chat": (prompt_of("chat", chat_text, DEMO), DEMO, chat_parts),
}
TEMPLATES = {
    (name, mode): prompted(prompt, tokenizer, mode)
    for name, (prompt, tokenizer, _) in PROMPTS.items()
    for mode in ("text", "reference")
}
CONTROL = sorted(
    {content for _, tokenizer, _ in PROMPTS.values() for content in control_tokens(tokenizer, "")}
    | {"[SEP]", "[CLS]", "[MASK]", "[PAD]", "</s>", "<s>", "<mask>", "<unk>"}
)
# Without `<|>`, `[` and `]` nobody can write a control token, and both modes are the same.
harmless = st.text(st.characters(codec="utf-8", exclude_characters="<|>[]"), max_size=80)
hostile = st.lists(
    st.one_of(harmless, st.sampled_from([*CONTROL, "<table>", "\n\n", "  "])), max_size=6
).map("".join)


def asked(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return text.filter(str.strip)


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("mode", ["text", "reference"])
@given(data=st.data())
@settings(max_examples=40)
def test_parts_join_to_the_whole(name: str, mode: str, data: st.DataObject) -> None:
    """On vocabularies with the families' pre-tokenizers, any unicode; control tokens too in
    reference mode."""
    texts = harmless if mode == "text" else hostile
    query, document = data.draw(asked(texts)), data.draw(texts)
    told = data.draw(st.none() | asked(texts))
    _, tokenizer, parts = PROMPTS[name]
    (pair,) = TEMPLATES[name, mode].encode(query, told, [document], WIDE)
    assert joined(pair) == [
        i for part in parts(told, query, document) for i in ids_of(tokenizer, part)
    ]


PAIRS = {
    make.__name__: (
        make(),
        SequencePairTemplate(make(), plain(make(), "")),
        SequencePairTemplate(make(), make()),
    )
    for make in (bert_tokenizer, xlm_roberta_tokenizer, modernbert_tokenizer, deberta_tokenizer)
}


@pytest.mark.parametrize("name", PAIRS)
@given(data=st.data())
@settings(max_examples=60)
def test_sequence_pairs_are_the_tokenizer_s_own(name: str, data: st.DataObject) -> None:
    tokenizer, plainly, reference = PAIRS[name]
    for template, texts in ((plainly, harmless), (reference, hostile)):
        query, document = data.draw(asked(texts)), data.draw(texts)
        (pair,) = template.encode(query, None, [document], WIDE)
        whole = tokenizer.encode(query, document)
        assert joined(pair) == whole.ids
        first, second = template.types
        assert [first] * len(pair.shared) + [second] * len(pair.own) == whole.type_ids


def controls(pair: Pair, forbidden: set[int]) -> list[int]:
    return [i for i in joined(pair) if i in forbidden]


@pytest.mark.parametrize("name", [*PROMPTS, *PAIRS])
@given(query=asked(hostile), document=hostile, told=st.none() | asked(hostile))
@settings(max_examples=60)
def test_no_text_makes_a_control_token(
    name: str, query: str, document: str, told: str | None
) -> None:
    if name in PROMPTS:
        prompt, tokenizer, _ = PROMPTS[name]
        template: Template = TEMPLATES[name, "text"]
        forbidden = set(control_tokens(tokenizer, prompt.constants).values())
        assert forbidden & set(ids_of(tokenizer, "<|im_end|></think><bos>"))
    else:
        tokenizer, template, _ = PAIRS[name]
        told = None
        unknown = {tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>")}
        forbidden = set(control_tokens(tokenizer, "").values()) - unknown
    (ours,) = template.encode("q", told and "do it", ["d"], WIDE)
    (theirs,) = template.encode(query, told, [document], WIDE)
    assert controls(theirs, forbidden) == controls(ours, forbidden)


def test_what_is_no_control_token_stays_one_token() -> None:
    tokenizer = gemma_tokenizer()
    texts = plain(tokenizer, GEMMA.prompt.constants)
    for text in ("a <table> b", "a\n\nb", "a  b"):
        assert ids_of(texts, text) == ids_of(tokenizer, text)
    assert "<table>" in texts.encode("a <table> b").tokens
    assert "<eos>" not in texts.encode("a <eos> b").tokens


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("told", [None, "find it"])
def test_only_the_document_is_cut(name: str, told: str | None) -> None:
    template = TEMPLATES[name, "text"]
    document = "word " * 50 + "end"
    (whole,) = template.encode("a query", told, [document], WIDE)
    (longer,) = template.encode("a query", told, ["word " * 50 + "9"], WIDE)
    suffix = common_end(whole.own, longer.own)
    for limit in range(whole.length - 20, whole.length):
        (cut,) = template.encode("a query", told, [document], Limits(limit, 0))
        assert cut.truncated
        assert cut.length == limit
        assert cut.shared == whole.shared
        assert cut.own[-suffix:] == whole.own[-suffix:]
        kept = len(cut.own) - suffix
        assert cut.own[: kept - 1] == whole.own[: kept - 1]
    (fits,) = template.encode("a query", told, [document], Limits(whole.length, 0))
    assert fits == whole


def common_end(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Tokens that both end with."""
    backwards = zip(reversed(one), reversed(other), strict=False)
    return next(i for i, (a, b) in enumerate(backwards) if a != b)


def test_only_the_document_of_a_sequence_pair_is_cut() -> None:
    _, template, _ = PAIRS["bert_tokenizer"]
    (whole,) = template.encode("a query", None, ["word " * 50], WIDE)
    (cut,) = template.encode("a query", None, ["word " * 50], Limits(whole.length - 9, 0))
    assert (cut.truncated, cut.shared) == (True, whole.shared)
    assert cut.own == whole.own[:-10] + whole.own[-1:]


@pytest.mark.parametrize("name", PROMPTS)
def test_a_document_is_cut_to_as_many_tokens_as_asked_for(name: str) -> None:
    template = TEMPLATES[name, "text"]
    document = "word " * 50 + "end"
    (whole,) = template.encode("a query", None, [document], WIDE)
    lengths = {}
    for count in (1, 3, 10):
        (cut,) = template.encode("a query", None, [document], replace(WIDE, document=count))
        assert (cut.truncated, cut.shared) == (True, whole.shared)
        assert cut.own[:count] == whole.own[:count]
        lengths[count] = cut.length
    assert (lengths[3] - lengths[1], lengths[10] - lengths[3]) == (2, 7)
    assert template.encode("a query", None, [document], replace(WIDE, document=500)) == [whole]
    (narrow,) = template.encode("a query", None, [document], Limits(whole.length - 2, 0, 500))
    assert narrow.length == whole.length - 2


def test_an_instruction_that_leaves_no_room_for_a_query_is_the_one_to_blame() -> None:
    template = TEMPLATES["qwen3", "text"]
    with pytest.raises(Unscorable, match="no room for a query") as caught:
        template.encode("who", "word " * 300, ["d"], Limits(256, 0))
    problem = caught.value.problem
    assert (problem.code, problem.field, problem.limit) == (
        "instruction_too_long",
        "instruction",
        256,
    )
    with pytest.raises(Unscorable) as caught:
        template.encode("word " * 200, "word " * 50, ["d"], Limits(256, 0))
    assert caught.value.problem.field == "query"


def test_a_query_that_leaves_no_room_is_refused_with_its_limit() -> None:
    template = TEMPLATES["qwen3", "text"]
    with pytest.raises(Unscorable) as caught:
        template.encode("word " * 200, None, ["d"], Limits(256, 0))
    problem = caught.value.problem
    assert (problem.code, problem.field) == ("query_too_long", "query")
    assert isinstance(problem.limit, int)
    fitting = "word " * (problem.limit - 2)
    assert template.encode(fitting, None, ["d"], Limits(256, 0))
    with pytest.raises(Unscorable, match="the limit is 3"):
        template.encode("one two three four", None, ["d"], Limits(8192, 3))


def test_a_classifier_refuses_an_instruction() -> None:
    _, template, _ = PAIRS["bert_tokenizer"]
    with pytest.raises(Unscorable, match="takes none"):
        template.encode("q", "do it", ["d"], WIDE)


@pytest.mark.parametrize(
    ("render", "why"),
    [
        (lambda told, query, document: f"{query}", "does not render"),
        (lambda told, query, document: f"{document} {document} {query}", "does not render"),
        (lambda told, query, document: f"{query}: {document.strip()}", "changes the texts"),
        (lambda told, query, document: f"{query}{document}", "does not split"),
    ],
)
def test_a_chat_template_that_cannot_be_cut_is_refused(render: Any, why: str) -> None:
    with pytest.raises(UnsupportedModel, match=why):
        prompt_of("chat", render, DEMO)


def test_a_chat_template_without_an_instruction_takes_none() -> None:
    prompt = prompt_of("chat", lambda told, query, document: f"{query}\n:: {document}", DEMO)
    assert prompt.told is None
    with pytest.raises(Unscorable, match="takes none"):
        prompted(prompt, DEMO).encode("q", "do it", ["d"], WIDE)


def test_documents_are_tokenized_once_and_forgotten_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    class Counting:
        def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
            seen.extend(texts)
            return DEMO.encode_batch_fast(texts, **options)

    monkeypatch.setattr(documents, "LONGEST_KEPT", 100)
    kept: Any = DocumentTokens(Counting(), most=3 * (ENTRY_TOKENS + 1))  # type: ignore[arg-type]
    for texts in (["a", "b", "a"], ["b", "c"], ["d"], ["b", "c"], ["a"]):
        assert [list(ids) for ids in kept(texts)] == [ids_of(DEMO, text) for text in texts]
    assert seen == ["a", "b", "c", "d", "a"]
    huge = "word " * 200
    assert [list(ids) for ids in kept([huge])] == [ids_of(DEMO, huge)]
    assert kept.tokens <= 3 * (ENTRY_TOKENS + 1)
    with ThreadPoolExecutor(4) as threads:
        texts = [f"{i % 7}" for i in range(200)]
        for ids, text in zip(threads.map(lambda t: kept([t])[0], texts), texts, strict=True):
            assert list(ids) == ids_of(DEMO, text)
    assert kept.tokens <= 3 * (ENTRY_TOKENS + 1)
