"""The server one writes first: FastAPI, and sentence-transformers' CrossEncoder by its defaults.

    PYTHON -m benchmarks.peers.crossencoder_server MODEL PORT

In the peer's own environment. A `def` endpoint runs on FastAPI's threads, forty at most.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import CrossEncoder

app = FastAPI()
model: CrossEncoder


class Request(BaseModel):
    query: str
    documents: list[str]


@app.post("/v1/rerank")
def rerank(request: Request) -> dict[str, Any]:
    pairs = [(request.query, document) for document in request.documents]
    scores = model.predict(pairs)
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return {
        "results": [{"index": index, "relevance_score": float(scores[index])} for index in order]
    }


@app.get("/livez")
def livez() -> str:
    return "ok"


if __name__ == "__main__":
    model = CrossEncoder(sys.argv[1], device="cpu")
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
