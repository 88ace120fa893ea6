"""OpenTelemetry tracing from a request to its training steps; disabled unless an exporter is configured.

The standard variables `OTEL_EXPORTER_OTLP_…` configure it. The trace context crosses processes as a W3C traceparent: in
the job's row from API to worker, in the variable TRACEPARENT from worker to trainer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
VARIABLE = "TRACEPARENT"
_tracer: Tracer | None = None
logger = logging.getLogger(__name__)


def start(service: str) -> None:
    """Start tracing under a service name if an endpoint is configured; pending spans are sent at process exit."""
    global _tracer
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("%s is set, but tracing is disabled: install the extra `otel`", ENDPOINTS[0])
        return
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("uniapl")


@contextmanager
def span(name: str, *, parent: str | None = None, **attributes: str | int) -> Iterator[None]:
    """A span around a block, as a child of the current span or of another process's span.

    Args:
        name: name of the operation, of low cardinality.
        parent: a W3C traceparent; an invalid one starts a new trace.
        attributes: attributes of the span.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    with _tracer.start_as_current_span(name, context, attributes=attributes):
        yield


def rename(name: str, **attributes: str | int) -> None:
    """Set name and attributes of the current span, once they are known."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().update_name(name)
        get_current_span().set_attributes(attributes)


def traceparent() -> str | None:
    """W3C traceparent of the current span, for another process; `None` without tracing."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
