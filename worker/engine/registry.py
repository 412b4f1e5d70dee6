"""The rerankers we know by their config alone, each as its publisher's own code prompts it."""

from __future__ import annotations

from dataclasses import dataclass

from worker.engine.layout import Layout, Prompt, Slot


@dataclass(frozen=True, slots=True)
class Known:
    """A causal reranker: its prompt, and the words it answers with.

    Attributes:
        negative: None where the positive word's logit itself is the log-odds.
    """

    prompt: Prompt
    positive: str
    negative: str | None


# https://huggingface.co/Qwen/Qwen3-Reranker-0.6B, "Transformers Usage"
QWEN3_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
QWEN3_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
QWEN3_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"

# https://github.com/mixedbread-ai/mxbai-rerank, mxbai_rerank/mxbai_rerank_v2.py (0.1.6)
MXBAI_PREFIX = (
    "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    "<|im_end|>\n<|im_start|>user\n"
)
MXBAI_TASK = (
    "You are a search relevance expert who evaluates how well documents match search queries. For "
    "each query-document pair, carefully analyze the semantic relationship between them, then "
    "provide your binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
)
MXBAI_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"

# https://github.com/FlagOpen/FlagEmbedding, inference/reranker/decoder_only/base.py (1.4.2)
GEMMA_TASK = (
    "Given a query A and a passage B, determine whether the passage contains an answer to the "
    "query by providing a prediction of either 'Yes' or 'No'."
)


def _qwen3(instruction: str | Slot) -> Layout:
    return Layout(
        before=(
            (QWEN3_PREFIX,),
            ("<Instruct>: ", instruction, "\n<Query>: ", Slot.QUERY, "\n<Document>:"),
        ),
        lead=" ",
        after=((QWEN3_SUFFIX,),),
    )


def _mxbai(*instruction: str | Slot) -> Layout:
    return Layout(
        before=(
            (MXBAI_PREFIX,),
            (*instruction, "query: ", Slot.QUERY),
            ("\n",),
            ("document:",),
        ),
        lead=" ",
        after=(("\n",), (MXBAI_TASK,), (MXBAI_SUFFIX,)),
    )


def _gemma(task: str | Slot) -> Layout:
    # Its tokenizer has no pre-tokenizer that would split between the colon and the document.
    return Layout(
        before=(("<bos>",), ("A: ", Slot.QUERY), ("\n",)),
        lead="B: ",
        after=(("\n",), (task,)),
    )


QWEN3 = Known(
    Prompt("qwen3-reranker", _qwen3(QWEN3_INSTRUCTION), _qwen3(Slot.INSTRUCTION)), "yes", "no"
)
MXBAI = Known(
    Prompt("mxbai-rerank-v2", _mxbai(), _mxbai("instruction: ", Slot.INSTRUCTION, "\n")), "1", "0"
)
# The instruction takes the place of the whole task, as `prompt` does in its publisher's code.
GEMMA = Known(
    Prompt("bge-reranker-v2-gemma", _gemma(GEMMA_TASK), _gemma(Slot.INSTRUCTION)), "Yes", None
)

REGISTRY = {
    "Qwen3ForCausalLM": QWEN3,
    "Qwen2ForCausalLM": MXBAI,
    "GemmaForCausalLM": GEMMA,
    # tomaarsen/Qwen3-Reranker-0.6B-seq-cls: the same prompt, the two rows subtracted beforehand.
    "Qwen3ForSequenceClassification": QWEN3,
}

# Encoders, whose tokenizers lay out a pair of sequences themselves.
SEQUENCE_PAIRS = {
    "albert",
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "modernbert",
    "mpnet",
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
}
