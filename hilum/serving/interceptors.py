"""What happens around every RPC: request id, identity, canonical log line, metrics, errors as google.rpc.Status."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio

from hilum import errors
from hilum.serving.admission import INFRASTRUCTURE, Admission
from hilum.serving.audit import AuditTrail, audit_record, recording_audit
from hilum.serving.deadline import ending_in
from hilum.serving.identity import acting_as
from hilum.serving.priority import prioritised, priority_of
from hilum.serving.received import Receiving
from hilum.serving.telemetry import RpcFacts, Telemetry, recording_facts
from hilum.serving.tenant import tenant_tag

if TYPE_CHECKING:
    from opentelemetry.trace import Span

REQUEST_ID_METADATA_KEY = "x-request-id"

# Hexadecimal and hyphens, as UUIDs and trace ids are: it is logged, and must have no room for a name.
_REQUEST_ID = re.compile(r"[0-9A-Fa-f-]{1,64}")
# A caller's deadline began before ours: it hangs up that much earlier.
_EARLY_S = 0.1
# For a caller to take the answer that ends its call.
_ABORT_S = 5.0

# Strings: these classes are generic in grpc's type stubs only.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]"

_Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]


@dataclass
class _Outcome:
    """How an RPC ended."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    reason: str = ""


class RpcInterceptor(grpc.aio.ServerInterceptor):
    """The one interceptor of every server; works for all four kinds of RPC.

    Messages are parsed and serialised here rather than by gRPC, so that bytes that are no message are answered like
    every other bad request. Streaming handlers are therefore async generators; `context.read` and `context.write` are
    not offered.

    Args:
        telemetry: Where log lines and counts go.
        admission: Says who is calling, and refuses who may not.
        receiving: Bounds what is held of requests, and how long callers are waited for.
        audit: Where it is told who did what; None for nowhere.
    """

    def __init__(
        self, telemetry: Telemetry, admission: Admission, receiving: Receiving, audit: AuditTrail | None = None
    ) -> None:
        self._telemetry = telemetry
        self._admission = admission
        self._receiving = receiving
        self._audit = audit
        self._running: set[asyncio.Task[Any]] = set()

    async def all_ended(self, timeout_s: float) -> None:
        """Returns when no handler runs any more, or after `timeout_s`.

        gRPC's own stop returns when the calls are over, while handlers of cancelled calls may still be cleaning up.
        """
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)

    async def intercept_service(
        self, continuation: _Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> _Handler | None:
        """Wraps the method's handler; see grpc.aio.ServerInterceptor."""
        handler = await continuation(handler_call_details)
        if handler is None:  # unknown method: gRPC answers UNIMPLEMENTED
            return handler
        method = handler_call_details.method
        if handler.response_streaming:
            streaming = self._streaming(method, handler)
            return (
                grpc.stream_stream_rpc_method_handler(streaming)
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler(streaming)
            )
        unary = self._unary(method, handler)
        return (
            grpc.stream_unary_rpc_method_handler(unary)
            if handler.request_streaming
            else grpc.unary_unary_rpc_method_handler(unary)
        )

    def _unary(self, method: str, handler: _Handler) -> Callable[[Any, _Context], Awaitable[bytes]]:
        behaviour: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary
        serialise: Any = handler.response_serializer

        async def call(received: Any, context: _Context) -> bytes:
            async with self._around(method, context) as facts:
                async with self._request(received, handler, facts) as request:
                    response = await behaviour(request, context)
                data: bytes = serialise(response)
                facts.add(response_bytes=len(data))
            return data

        return call

    def _streaming(self, method: str, handler: _Handler) -> Callable[[Any, _Context], Awaitable[None]]:
        behaviour: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream
        serialise: Any = handler.response_serializer

        # A coroutine that writes, not a generator: when the caller cancels during a write, gRPC would leave a
        # generator to the garbage collector, and the handler's clean-up to some later moment.
        async def call(received: Any, context: _Context) -> None:
            async with (
                self._around(method, context) as facts,
                self._request(received, handler, facts) as request,
                contextlib.aclosing(behaviour(request, context)) as responses,
            ):
                async for response in responses:
                    data: bytes = serialise(response)
                    facts.count("responses")
                    facts.count("response_bytes", len(data))
                    async with self._receiving.unstalled("reads nothing"):
                        await context.write(data)

        return call

    @contextlib.asynccontextmanager
    async def _request(self, received: Any, handler: _Handler, facts: RpcFacts) -> AsyncIterator[Any]:
        """Yields the request, or the stream of requests, of what was received as bytes."""
        deserialise: Any = handler.request_deserializer
        if handler.request_streaming:
            async with contextlib.aclosing(self._receiving.each(received, deserialise, facts)) as requests:
                yield requests
        else:
            with self._receiving.one(received, deserialise, facts) as request:
                yield request

    @contextlib.asynccontextmanager
    async def _around(self, method: str, context: _Context) -> AsyncIterator[RpcFacts]:
        """Everything that happens before and after the handler's own work."""
        metadata = tuple(context.invocation_metadata() or ())
        request_id = _request_id(metadata)
        context.set_trailing_metadata(((REQUEST_ID_METADATA_KEY, request_id),))
        outcome = _Outcome()
        with (
            recording_facts() as facts,
            self._telemetry.spans.serving(method, metadata) as span,
            self._auditing(method, context, request_id, outcome),
            self._accounting(method, request_id, outcome, facts, span),
        ):
            try:
                with (
                    ending_in(context.time_remaining()),
                    prioritised(priority_of(method, metadata)),
                    self._admitted(method, context, metadata, facts),
                ):
                    yield facts
            except grpc.aio.AbortError:
                outcome.code = context.code()
                raise
            except asyncio.CancelledError:
                _note_cancelled(context, outcome)
                raise
            except NotImplementedError as error:
                # The generated base class sets the code and raises: the method is in the contract but not served here.
                if context.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    await self._abort(context, self._as_answer(error, method, request_id), request_id, outcome, facts)
                outcome.code = grpc.StatusCode.UNIMPLEMENTED
                await context.abort(outcome.code, "This method is not served here.")
            except Exception as error:  # noqa: BLE001  # the last line of defence: no traceback may cross the wire
                await self._abort(context, self._as_answer(error, method, request_id), request_id, outcome, facts)

    @contextlib.contextmanager
    def _auditing(self, method: str, context: _Context, request_id: str, outcome: _Outcome) -> Iterator[None]:
        """Tells the audit trail of the RPC when it has ended."""
        if self._audit is None or method.startswith(INFRASTRUCTURE):
            yield
            return
        peer = context.peer()
        with recording_audit() as record:
            try:
                yield
            finally:
                code, reason = outcome.code.name, outcome.reason
                self._audit.rpc_ended(method, code, reason, record=record, peer=peer, request_id=request_id)

    @contextlib.contextmanager
    def _admitted(self, method: str, context: _Context, metadata: _Metadata, facts: RpcFacts) -> Iterator[None]:
        identity = self._admission.identify(method, metadata, context.auth_context())
        if identity is None:
            yield
            return
        facts.add(tenant=tenant_tag(identity.tenant))
        audit_record().subject = identity.subject or tenant_tag(identity.tenant)
        with acting_as(identity):
            self._admission.authorise(method, identity)
            yield

    def _as_answer(self, error: Exception, method: str, request_id: str) -> errors.HilumError:
        """Returns what the caller may hear of an error; the log gets the traceback of faults of the server."""
        if isinstance(error, errors.HilumError) and error.code is not grpc.StatusCode.INTERNAL:
            return error
        self._telemetry.log.exception("server_fault", method=method, request_id=request_id)
        if isinstance(error, errors.InternalError):
            return error
        return errors.InternalError(
            f"The server failed unexpectedly; its log has the details under request id {request_id}."
        )

    async def _abort(
        self, context: _Context, error: errors.HilumError, request_id: str, outcome: _Outcome, facts: RpcFacts
    ) -> None:
        outcome.code, outcome.reason = error.code, error.reason
        if error.field:
            facts.add(field=error.field)
        if isinstance(error, errors.Unavailable):
            # It speaks of the server; other messages may quote what the caller sent.
            facts.add(error=error.message)
        request_id_pair = (REQUEST_ID_METADATA_KEY, request_id)
        try:
            async with asyncio.timeout(_ABORT_S):
                await context.abort(error.code, str(error), (*errors.details_metadata(error), request_id_pair))
        except TimeoutError:
            # A caller that reads nothing takes no answer either: the handler ends without it.
            raise asyncio.CancelledError from None

    @contextlib.contextmanager
    def _accounting(
        self, method: str, request_id: str, outcome: _Outcome, facts: RpcFacts, span: Span | None
    ) -> Iterator[None]:
        """Counts the RPC and writes its canonical log line."""
        started = time.perf_counter()
        self._telemetry.rpc_started(method)
        task = asyncio.current_task()
        if task is not None:
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            code = outcome.code.name
            self._telemetry.rpc_finished(method, code=code, reason=outcome.reason, seconds=seconds, facts=facts)
            self._telemetry.spans.served(span, outcome.code, outcome.reason, facts.as_dict())
            # Probes call every few seconds: their lines would bury the others.
            log = self._telemetry.log.debug if method.startswith(INFRASTRUCTURE) else self._telemetry.log.info
            line = {**facts.as_dict(), "method": method, "code": code, "request_id": request_id}
            if outcome.reason:
                line["reason"] = outcome.reason
            log("rpc", **line, duration_ms=round(seconds * 1000, 3))


def _note_cancelled(context: _Context, outcome: _Outcome) -> None:
    """GRPC cancels the handler when the caller cancels or goes away, and when the deadline passes."""
    remaining = context.time_remaining()
    if remaining is not None and remaining <= _EARLY_S:
        outcome.code, outcome.reason = grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded.reason
    else:
        outcome.code = grpc.StatusCode.CANCELLED


def _request_id(metadata: _Metadata) -> str:
    for key, value in metadata:
        if key == REQUEST_ID_METADATA_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex
