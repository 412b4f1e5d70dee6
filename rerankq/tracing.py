"""Traces by OpenTelemetry; its SDK is not even imported unless its own variables ask for them.

A job's header carries the W3C `traceparent` of the request that made it, so that the spans of the
workers which score it are in the caller's trace. A span holds names, counts and times, as a line of
the log does: never a query or a document.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

log = logging.getLogger(__name__)

ASKED_BY = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
)
# What these variables may say; the group `otel` brings nothing else.
SUPPORTED = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
}
LAST_WORDS_S = 2.0

provider: TracerProvider | None = None  # where this process's spans go; None: there are none


def start(service: str) -> None:
    """Send spans from now on, if the environment asks for them; what prevents it is logged."""
    global provider
    given = {name: value for name, value in os.environ.items() if value}
    disabled = given.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if disabled or given.get("OTEL_TRACES_EXPORTER") == "none" or given.keys().isdisjoint(ASKED_BY):
        return
    for name, supported in SUPPORTED.items():
        if given.get(name, supported) != supported:
            log.warning("no traces", extra={"reason": f"{name}: only {supported} is supported"})
            return
    try:
        provider = _provider(service)
    except ImportError as error:
        reason = f"{error.name} is not installed; it is in the dependency group otel"
        log.warning("no traces", extra={"reason": reason})
    except ValueError as error:  # one of its other variables
        log.warning("no traces", extra={"reason": str(error)})


def _provider(service: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What the environment calls the service goes before what we call it.
    named = {"service.name": service, **OTELResourceDetector().detect().attributes}
    made = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


def stop() -> None:
    """Send what is left. A collector that is away must not hold up the end for long."""
    if provider is not None:
        sending = threading.Thread(target=provider.shutdown, name="last-spans", daemon=True)
        sending.start()
        sending.join(LAST_WORDS_S)


def traceparent() -> str:
    """Of the span around the caller, whoever made it; empty without one."""
    # Where nobody has imported it there is no span: in most processes of the client.
    if "opentelemetry.trace" not in sys.modules:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent", "")


def parent(traceparent: str) -> Context:
    """What a span is put under; without a traceparent it begins a trace of its own."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})
