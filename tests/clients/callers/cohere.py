"""Cohere's own SDK: both of its APIs, blocking and asynchronous."""

from __future__ import annotations

import asyncio
from typing import Any

import cohere

from tests.clients.checks import COHERE, Asked, Client, Ranked, main

# Of everything that is built on it, too.
ERRORS: dict[str, Any] = {
    "unknown_model": cohere.NotFoundError,
    "wrong_key": cohere.UnauthorizedError,
    "overload": cohere.TooManyRequestsError,
    "invalid": cohere.UnprocessableEntityError,
}


def _v1(asked: Asked) -> list[Ranked]:
    with cohere.Client(asked.key, base_url=asked.url, max_retries=0) as client:
        answer = client.rerank(
            model=asked.model,
            query=asked.query,
            documents=asked.documents,
            top_n=asked.top_n,
            return_documents=asked.wants_documents,
        )
    return _with_documents(answer)


def _v1_async(asked: Asked) -> list[Ranked]:
    async def ask() -> cohere.RerankResponse:
        async with cohere.AsyncClient(asked.key, base_url=asked.url, max_retries=0) as client:
            return await client.rerank(
                model=asked.model,
                query=asked.query,
                documents=asked.documents,
                top_n=asked.top_n,
                return_documents=asked.wants_documents,
            )

    return _with_documents(asyncio.run(ask()))


def _with_documents(answer: cohere.RerankResponse) -> list[Ranked]:
    return [
        Ranked(result.index, result.relevance_score, result.document and result.document.text)
        for result in answer.results
    ]


def _v2(asked: Asked) -> list[Ranked]:
    with cohere.ClientV2(asked.key, base_url=asked.url, max_retries=0) as client:
        answer = client.rerank(
            model=asked.model,
            query=asked.query,
            documents=asked.documents,
            top_n=asked.top_n,
            max_tokens_per_doc=4096,
        )
    return _without_documents(answer, asked.documents)


def _v2_async(asked: Asked) -> list[Ranked]:
    async def ask() -> cohere.V2RerankResponse:
        async with cohere.AsyncClientV2(asked.key, base_url=asked.url, max_retries=0) as client:
            return await client.rerank(
                model=asked.model,
                query=asked.query,
                documents=asked.documents,
                top_n=asked.top_n,
            )

    return _without_documents(asyncio.run(ask()), asked.documents)


def _without_documents(answer: cohere.V2RerankResponse, documents: list[str]) -> list[Ranked]:
    """The second API returns none: its callers look them up by index."""
    return [
        Ranked(result.index, result.relevance_score, documents[result.index])
        for result in answer.results
    ]


CLIENTS = [
    Client(
        name=f"cohere {name}",
        model=COHERE,
        rank=rank,
        **ERRORS,
        returns_documents="V2" not in name,
    )
    for name, rank in (
        ("Client", _v1),
        ("AsyncClient", _v1_async),
        ("ClientV2", _v2),
        ("AsyncClientV2", _v2_async),
    )
]

if __name__ == "__main__":
    main(CLIENTS)
