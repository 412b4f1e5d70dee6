"""litellm.rerank, through each of its providers that takes an address of one's own."""

from __future__ import annotations

from functools import partial

import litellm

from tests.clients.checks import COHERE, HUB, JINA, Asked, Client, Ranked, main

litellm.suppress_debug_info = True


def _rerank(provider: str, path: str, asked: Asked) -> list[Ranked]:
    answer = litellm.rerank(
        model=f"{provider}/{asked.model}",
        query=asked.query,
        documents=asked.documents,
        top_n=asked.top_n,
        return_documents=asked.wants_documents,
        api_key=asked.key,
        api_base=f"{asked.url}{path}",
    )
    return [
        Ranked(result["index"], result["relevance_score"], result.get("document", {}).get("text"))
        for result in answer.results
    ]


def _through(provider: str, model: str, path: str = "") -> Client:
    return Client(
        name=f"litellm {provider}/",
        model=model,
        rank=partial(_rerank, provider, path),
        unknown_model=litellm.NotFoundError,
        wrong_key=litellm.AuthenticationError,
        overload=litellm.RateLimitError,
        invalid=litellm.BadRequestError,
        returns_documents=True,
    )


CLIENTS = [
    _through("cohere", COHERE),
    _through("jina_ai", JINA),
    _through("infinity", HUB, "/infinity"),
    _through("hosted_vllm", HUB),
    Client(  # TEI's form has no model; what litellm has no class for is an APIError
        name="litellm huggingface/",
        model=HUB,
        rank=partial(_rerank, "huggingface", ""),
        wrong_key=litellm.AuthenticationError,
        overload=litellm.RateLimitError,
        invalid=litellm.APIError,
        returns_documents=True,
    ),
]

if __name__ == "__main__":
    main(CLIENTS)
