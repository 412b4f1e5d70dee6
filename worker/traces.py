"""A worker's spans, where traces are on: see `rerankq.tracing`.

the request that made the job
    shard       from the job's acceptance until this worker no longer holds the shard
        queue   until it was taken
        score   a batch with pairs of it; linked to the batch's own
batch           in a trace of its own, linked to every shard in it
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import rerankq
from rerankq import tracing
from rerankq.ledger.calls import Taken
from worker.work import Batch, Work, works_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer


def taken(item: Taken, work: Work) -> Span | None:
    """The span of a shard that was taken and is tokenized now; `ended` ends it."""
    if tracing.provider is None:
        return None
    from opentelemetry.trace import SpanKind, set_span_in_context

    tracer, above = _tracer(tracing.provider), tracing.parent(item.traceparent)
    received = time.time_ns() - int((time.monotonic() - work.received) * 1e9)
    accepted = received - item.waited_ms * 1_000_000
    said = {
        "rerankq.job": item.job_id,
        "rerankq.entry": item.entry,
        "rerankq.lane": item.lane.value,
        "rerankq.request_id": str(work.log_fields["request_id"]),
        "rerankq.pairs": len(work.pairs),
        "rerankq.cached": len(work.known),
        "rerankq.tokens": work.tokens,
    }
    shard = tracer.start_span("shard", above, SpanKind.CONSUMER, said, start_time=accepted)
    tracer.start_span("queue", set_span_in_context(shard), start_time=accepted).end(received)
    return shard


def ended(work: Work) -> None:
    """It is no longer held here; `rerankq.unscored` pairs of it are, if at all, another's."""
    if work.span is not None:
        work.span.set_attribute("rerankq.unscored", work.left)
        if work.error is not None:
            from opentelemetry.trace import StatusCode

            work.span.set_status(StatusCode.ERROR, type(work.error).__name__)
        work.span.end()


def scored(batch: Batch, seconds: float, tokens: int) -> None:
    """A batch has left the device just now; its shards' spans are still open."""
    if tracing.provider is None:
        return
    spans = [work.span for work in works_of(batch) if work.span and work.span.is_recording()]
    if not spans:
        return
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, set_span_in_context

    tracer, end = _tracer(tracing.provider), time.time_ns()
    start = end - int(seconds * 1e9)
    jobs = len({work.job for work in works_of(batch)})
    said = {"rerankq.pairs": len(batch), "rerankq.tokens": tokens, "rerankq.jobs": jobs}
    shards = [Link(span.get_span_context()) for span in spans]
    whole = tracer.start_span("batch", Context(), attributes=said, links=shards, start_time=start)
    whole.end(end)
    back = [Link(whole.get_span_context())]
    for span in spans:
        inside = set_span_in_context(span)
        tracer.start_span("score", inside, attributes=said, links=back, start_time=start).end(end)


def _tracer(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("rerankq", rerankq.__version__)
