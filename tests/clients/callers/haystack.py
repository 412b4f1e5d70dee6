"""Haystack's rankers for Cohere, Jina and TEI, components of a pipeline."""

from __future__ import annotations

from typing import Any

from haystack import Document
from haystack.utils import Secret
from haystack_integrations.components.rankers.cohere import CohereRanker
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
from haystack_integrations.components.rankers.jina import JinaRanker

from tests.clients.callers.cohere import ERRORS
from tests.clients.checks import COHERE, JINA, Asked, Client, Ranked, main


def _cohere(asked: Asked) -> list[Ranked]:
    return _ranked(
        asked,
        CohereRanker(
            model=asked.model, api_key=Secret.from_token(asked.key), api_base_url=asked.url
        ),
    )


def _jina(asked: Asked) -> list[Ranked]:
    return _ranked(
        asked,
        JinaRanker(
            model=asked.model,
            api_key=Secret.from_token(asked.key),
            base_url=f"{asked.url}/v1/rerank",
        ),
    )


def _tei(asked: Asked) -> list[Ranked]:
    return _ranked(
        asked,
        HuggingFaceTEIRanker(url=asked.url, token=Secret.from_token(asked.key), max_retries=1),
    )


def _ranked(asked: Asked, ranker: Any) -> list[Ranked]:
    documents = [Document(id=str(n), content=text) for n, text in enumerate(asked.documents)]
    found = ranker.run(query=asked.query, documents=documents, top_k=asked.top_n)["documents"]
    return [Ranked(int(document.id), document.score, document.content) for document in found]


CLIENTS = [
    Client(
        name="haystack CohereRanker",
        model=COHERE,
        rank=_cohere,
        **ERRORS,
    ),
    Client(  # it has one exception for all there is
        name="haystack JinaRanker",
        model=JINA,
        rank=_jina,
        unknown_model=RuntimeError,
        wrong_key=RuntimeError,
        overload=RuntimeError,
        invalid=RuntimeError,
    ),
    Client(  # the same, once its retries are used up
        name="haystack HuggingFaceTEIRanker",
        model="",
        rank=_tei,
        wrong_key=RuntimeError,
        overload=RuntimeError,
        invalid=RuntimeError,
    ),
]

if __name__ == "__main__":
    main(CLIENTS)
