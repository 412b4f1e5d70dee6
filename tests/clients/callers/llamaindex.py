"""LlamaIndex's rerankers for Cohere, Jina and TEI, postprocessors of nodes."""

from __future__ import annotations

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

from tests.clients.callers.cohere import ERRORS
from tests.clients.checks import COHERE, JINA, Asked, Client, Ranked, main


def _top_n(asked: Asked) -> int:
    return asked.top_n or len(asked.documents)


def _cohere(asked: Asked) -> list[Ranked]:
    return _ranked(
        asked,
        CohereRerank(
            top_n=_top_n(asked),
            model=asked.model,
            api_key=asked.key,
            base_url=asked.url,
            max_retries=1,
        ),
    )


def _jina(asked: Asked) -> list[Ranked]:
    return _ranked(
        asked,
        JinaRerank(
            top_n=_top_n(asked),
            model=asked.model,
            api_key=asked.key,
            base_url=f"{asked.url}/v1",
        ),
    )


def _tei(asked: Asked) -> list[Ranked]:
    # The token is sent as it is, so the scheme belongs to it.
    return _ranked(
        asked,
        TextEmbeddingInference(
            top_n=_top_n(asked), base_url=asked.url, auth_token=f"Bearer {asked.key}"
        ),
    )


def _ranked(asked: Asked, reranker: BaseNodePostprocessor) -> list[Ranked]:
    nodes = [
        NodeWithScore(node=TextNode(text=text, id_=str(index)))
        for index, text in enumerate(asked.documents)
    ]
    return [
        Ranked(int(node.node_id), node.score, node.text)
        for node in reranker.postprocess_nodes(nodes, query_str=asked.query)
    ]


CLIENTS = [
    Client(
        name="llama-index CohereRerank",
        model=COHERE,
        rank=_cohere,
        **ERRORS,
    ),
    Client(  # it has one exception for all there is
        name="llama-index JinaRerank",
        model=JINA,
        rank=_jina,
        unknown_model=RuntimeError,
        wrong_key=RuntimeError,
        overload=RuntimeError,
        invalid=RuntimeError,
    ),
    Client(  # it looks at no status, and asserts that there are as many scores as nodes
        name="llama-index TextEmbeddingInference",
        model="",
        rank=_tei,
        wrong_key=AssertionError,
        overload=AssertionError,
        invalid=AssertionError,
        says_why=False,
    ),
]

if __name__ == "__main__":
    main(CLIENTS)
