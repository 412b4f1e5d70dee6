"""A worker's spans, where traces are on: see `rerankq.tracing`.

the request that made the job
    shard       from the job's acceptance until this worker no longer holds the shard
        queue   until it was taken
        score   a batch with pairs of it; linked to the batch's own
batch           in a trace of its own, linked to every shard in it
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import rerankq
from rerankq import tracing
from rerankq.ledger.calls import Taken
from worker.work import Batch, Work, works_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer


@dataclass(frozen=True, slots=True)
class Scored:
    """A batch that was on the device, from `start` to `end` in ns."""

    span: Span
    start: int
    end: int
    said: dict[str, int]


@dataclass(frozen=True, slots=True)
class Traced:
    """The span of a shard, and the batches that had pairs of it."""

    span: Span
    batches: list[Scored] = field(default_factory=list)


def taken(item: Taken, work: Work) -> Traced | None:
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
    if not shard.is_recording():
        return None
    tracer.start_span("queue", set_span_in_context(shard), start_time=accepted).end(received)
    return Traced(shard)


def scored(batch: Batch, seconds: float, tokens: int) -> None:
    """A batch has left the device just now. On its thread, so what can wait does: see `ended`."""
    if tracing.provider is None:
        return
    works = works_of(batch)
    traced = [work.traced for work in works if work.traced]
    if not traced:
        return
    from opentelemetry.context import Context
    from opentelemetry.trace import Link

    end = time.time_ns()
    start = end - int(seconds * 1e9)
    jobs = len({work.job for work in works})
    said = {"rerankq.pairs": len(batch), "rerankq.tokens": tokens, "rerankq.jobs": jobs}
    links = [Link(shard.span.get_span_context()) for shard in traced]
    span = _tracer(tracing.provider).start_span(
        "batch", Context(), attributes=said, links=links, start_time=start
    )
    span.end(end)
    for shard in traced:
        shard.batches.append(Scored(span, start, end, said))


def ended(work: Work) -> None:
    """It is no longer held here; `rerankq.unscored` pairs of it are, if at all, another's."""
    if tracing.provider is None or work.traced is None:
        return
    from opentelemetry.trace import Link, StatusCode, set_span_in_context

    tracer, span = _tracer(tracing.provider), work.traced.span
    inside = set_span_in_context(span)
    for on in work.traced.batches:
        whole = [Link(on.span.get_span_context())]
        score = tracer.start_span(
            "score", inside, attributes=on.said, links=whole, start_time=on.start
        )
        score.end(on.end)
    span.set_attribute("rerankq.unscored", work.left)
    if work.error is not None:
        span.set_status(StatusCode.ERROR, type(work.error).__name__)
    span.end()


def _tracer(provider: TracerProvider) -> Tracer:
    return provider.get_tracer("rerankq", rerankq.__version__)
