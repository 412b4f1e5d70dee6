"""The application: routes, refusals, what wraps every request, and the process's life."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

import rerankq
from api import problems
from api.files import MOST_FILE_BYTES
from api.front import Front
from api.middleware import BodyLimit, KeyRequired, RequestContext
from api.rates import RateLimit
from api.routes import batches, files, jobs, operate, rerank, service
from rerankq import tracing
from rerankq.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    front = Front(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with front.running():
            yield
        await asyncio.to_thread(tracing.stop)

    app = FastAPI(
        title="rerankq",
        summary="The durable queue between a search or RAG system and a reranking model.",
        version=rerankq.__version__,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_telemetry(),
    )
    app.state.front = front
    problems.install(app)
    app.state.routes = []  # the framework hides them behind what it includes
    # In the order they are tried in: a probe waits behind as little as may be.
    for resource in (service, jobs, rerank, files, batches, operate):
        app.include_router(resource.router)
        app.state.routes += resource.router.routes
    # The one added last is the outermost.
    larger = {"/v1/files": MOST_FILE_BYTES}
    app.add_middleware(
        BodyLimit,
        limit=settings.max_body_bytes,
        larger=larger,
        documents=settings.max_documents,
    )
    if front.rates is not None:
        app.add_middleware(RateLimit, rates=front.rates)
    app.add_middleware(KeyRequired, keys=front.keys)
    app.add_middleware(RequestContext)
    return app


def _telemetry() -> TelemetryConfig:
    """The framework's own: a span for each request that may make a job, named by its route."""
    return {
        "tracing": tracing.provider is not None,
        "tracer_provider": tracing.provider,
        # Polls would be most of all spans, and are nothing to the job.
        "exclude": lambda scope: scope.get("method") != "POST",
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
    }
