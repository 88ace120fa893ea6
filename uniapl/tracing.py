"""Traces from a request to its training steps, for OpenTelemetry; nothing at all unless an exporter is configured.

The standard variables configure it: `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin. A trace crosses processes as a W3C
traceparent: in the job's row from API to worker, in the variable TRACEPARENT from worker to trainer.
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
    """Trace from now on under this name, if an endpoint is configured; what is left is sent when the process ends."""
    global _tracer
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("%s is set, but nothing is traced: the extra `otel` is not installed", ENDPOINTS[0])
        return
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("uniapl")


@contextmanager
def span(name: str, *, parent: str | None = None, **attributes: str | int) -> Iterator[None]:
    """A span of what the block does, below the one that is open, or below that of another process.

    Args:
        name: what is done, with few values.
        parent: a W3C traceparent; one that is none begins a trace of its own.
        attributes: what it is done to.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
    with _tracer.start_as_current_span(name, context, attributes=attributes):
        yield


def rename(name: str, **attributes: str | int) -> None:
    """What the open span is about has turned out."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().update_name(name)
        get_current_span().set_attributes(attributes)


def traceparent() -> str | None:
    """Of the open span, for another process; `None` when nothing is traced."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")
