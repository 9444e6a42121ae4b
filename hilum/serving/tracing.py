"""OpenTelemetry on the server's side: a span per RPC handled, and one per call to Redis or Triton.

Loaded only where tracing is on; needs the extra `tracing`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import grpc
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hilum import telemetry_names as names
from hilum.tracing import end_rpc, rpc_attributes, traceparent

_PROPAGATOR = TraceContextTextMapPropagator()


@contextlib.contextmanager
def serving(tracer: Tracer, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Iterator[Span]:
    """Makes a span of an RPC, child of its caller's, the current one inside the block."""
    carrier = {key: value for key, value in metadata if isinstance(value, str)}
    # An empty context: spans of this server's own start-up are no parents of its RPCs.
    parent = _PROPAGATOR.extract(carrier, Context())
    name, attributes = rpc_attributes(method)
    span = tracer.start_span(name, parent, SpanKind.SERVER, attributes)
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        yield span


def served(span: Span, code: grpc.StatusCode, reason: str, facts: Mapping[str, str | int | float | bool]) -> None:
    """Notes how an RPC ended and what is known of it."""
    end_rpc(span, code)
    if reason:
        span.set_attribute(names.REASON, reason)
    for fact in names.SPAN_FACTS:
        if fact in facts:
            span.set_attribute(names.FACT_ATTRIBUTE.format(fact=fact), facts[fact])


@contextlib.contextmanager
def calling(tracer: Tracer, dependency: str, operation: str) -> Iterator[dict[str, str]]:
    """Makes a span of a call to a dependency; yields the headers that carry it there.

    An exception marks it as failed, by the name of its class only.
    """
    name = names.SPAN_DEPENDENCY.format(dependency=dependency, operation=operation)
    attributes = {names.DEPENDENCY: dependency, names.OPERATION: operation}
    span = tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield traceparent(span)
        except BaseException as error:
            span.set_attribute(names.ERROR_TYPE, type(error).__name__)
            span.set_status(Status(StatusCode.ERROR))
            raise
