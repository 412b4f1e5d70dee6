"""LangChain's CohereRerank, a compressor of documents."""

from __future__ import annotations

from langchain_cohere import CohereRerank
from langchain_core.documents import Document

from tests.clients.callers.cohere import ERRORS
from tests.clients.checks import COHERE, Asked, Client, Ranked, main


def _compress(asked: Asked) -> list[Ranked]:
    reranker = CohereRerank(
        model=asked.model, cohere_api_key=asked.key, base_url=asked.url, top_n=asked.top_n
    )
    documents = [
        Document(page_content=text, metadata={"index": index})
        for index, text in enumerate(asked.documents)
    ]
    return [
        Ranked(
            document.metadata["index"], document.metadata["relevance_score"], document.page_content
        )
        for document in reranker.compress_documents(documents, asked.query)
    ]


CLIENTS = [
    Client(
        name="langchain CohereRerank",
        model=COHERE,
        rank=_compress,
        **ERRORS,
    )
]

if __name__ == "__main__":
    main(CLIENTS)
