"""Voyage's own client, blocking and asynchronous, at the paths of its form and the common one."""

from __future__ import annotations

import asyncio
from functools import partial

import voyageai
from voyageai import error
from voyageai.object import RerankingObject

from tests.clients.checks import VOYAGE, Asked, Client, Ranked, main


def _blocking(path: str, asked: Asked) -> list[Ranked]:
    client = voyageai.Client(asked.key, base_url=f"{asked.url}{path}")
    return _ranked(client.rerank(asked.query, asked.documents, asked.model, top_k=asked.top_n))


def _asynchronous(path: str, asked: Asked) -> list[Ranked]:
    client = voyageai.AsyncClient(asked.key, base_url=f"{asked.url}{path}")
    call = client.rerank(asked.query, asked.documents, asked.model, top_k=asked.top_n)
    return _ranked(asyncio.run(call))


def _ranked(answer: RerankingObject) -> list[Ranked]:
    return [Ranked(one.index, one.relevance_score, one.document) for one in answer.results]


CLIENTS = [
    *(
        Client(
            name=f"voyageai {name}",
            model=VOYAGE,
            rank=partial(rank, "/voyage/v1"),
            unknown_model=error.InvalidRequestError,
            wrong_key=error.AuthenticationError,
            overload=error.RateLimitError,
            invalid=error.InvalidRequestError,
        )
        for name, rank in (("Client", _blocking), ("AsyncClient", _asynchronous))
    ),
    Client(  # whose 404 and 422 Voyage's service does not send in this sense
        name="voyageai Client at /v1",
        model=VOYAGE,
        rank=partial(_blocking, "/v1"),
        unknown_model=error.APIError,
        wrong_key=error.AuthenticationError,
        overload=error.RateLimitError,
        invalid=error.MalformedRequestError,
    ),
]

if __name__ == "__main__":
    main(CLIENTS)
