"""OpenTelemetry spans of the calls that leave this process, with W3C traceparent in their metadata.

Loaded only where tracing is on; needs the extra `tracing`. Spans carry names, codes and sizes, and never an error's
message: it may quote what a caller sent. For that reason, and because handlers here write to streams by themselves,
these interceptors stand in place of opentelemetry-instrumentation-grpc (docs/adr/0011-own-tracing-interceptors.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from hilum import telemetry_names as names

_Continuation: TypeAlias = Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]]
# Name of the tasks that end spans.
WATCHING = "hilum-span"
_PROPAGATOR = TraceContextTextMapPropagator()


def rpc_attributes(path: str) -> tuple[str, dict[str, str]]:
    """Returns a span's name and attributes of an RPC's path, such as "/hilum.v1.EncoderService/EncodeImage"."""
    service, _, method = path.strip("/").rpartition("/")
    attributes = {names.RPC_SYSTEM: "grpc", names.RPC_SERVICE: service, names.RPC_METHOD: method}
    return names.SPAN_RPC.format(service=service, method=method), attributes


def end_rpc(span: Span, code: grpc.StatusCode) -> None:
    """Notes how an RPC ended."""
    span.set_attribute(names.RPC_STATUS, code.value[0])
    if code is not grpc.StatusCode.OK:
        span.set_attribute(names.ERROR_TYPE, code.name)
        span.set_status(Status(StatusCode.ERROR))


def traceparent(span: Span) -> dict[str, str]:
    """Returns the headers that make a callee's spans children of this one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(span))
    return carrier


class _Tracing:
    """What the four kinds of calls have in common."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._watching: set[asyncio.Task[None]] = set()

    async def _traced(self, continuation: _Continuation, details: grpc.aio.ClientCallDetails, request: Any) -> Any:
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        name, attributes = rpc_attributes(method)
        span = self._tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *traceparent(span).items())
        try:
            call = await continuation(_with_metadata(details, metadata), request)
        except BaseException:
            span.end()
            raise
        # The call goes back to its caller at once; a task sees it end, whoever reads or cancels it.
        task = asyncio.create_task(_watch(span, call), name=WATCHING)
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
        return call


def _with_metadata(details: grpc.aio.ClientCallDetails, metadata: grpc.aio.Metadata) -> grpc.aio.ClientCallDetails:
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )


async def _watch(span: Span, call: grpc.aio.Call) -> None:
    try:
        end_rpc(span, await call.code())
    finally:
        span.end()


class _UnaryUnary(_Tracing, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._traced(continuation, client_call_details, request)


class _UnaryStream(_Tracing, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._traced(continuation, client_call_details, request)


class _StreamUnary(_Tracing, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._traced(continuation, client_call_details, request_iterator)


class _StreamStream(_Tracing, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._traced(continuation, client_call_details, request_iterator)


def tracing_interceptors(tracer: Tracer) -> list[grpc.aio.ClientInterceptor]:
    """Returns interceptors that make a span of every call, a child of the current one."""
    return [kind(tracer) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
