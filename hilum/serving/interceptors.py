"""What happens around every RPC: request id, tenant, canonical log line, metrics, errors as google.rpc.Status."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from hilum import errors
from hilum.serving.audit import AuditTrail, audit_record, recording_audit
from hilum.serving.telemetry import RpcFacts, Telemetry, recording_facts
from hilum.serving.tenant import TenantResolver, acting_for, tenant_tag

REQUEST_ID_METADATA_KEY = "x-request-id"

# Hexadecimal and hyphens, as UUIDs and trace ids are: it is logged, and must have no room for a name.
_REQUEST_ID = re.compile(r"[0-9A-Fa-f-]{1,64}")
# Called by probes every few seconds, whose lines would bury the others, and by nobody's tenant.
_INFRASTRUCTURE = ("/grpc.health.", "/grpc.reflection.")

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
        tenants: Says for whom a call is made.
        audit: Where it is told who did what; None for nowhere.
    """

    def __init__(self, telemetry: Telemetry, tenants: TenantResolver, audit: AuditTrail | None = None) -> None:
        self._telemetry = telemetry
        self._audit = audit
        self._tenants = tenants
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
                response = await behaviour(_parsed(received, handler, facts), context)
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
            async with self._around(method, context) as facts:
                responses = behaviour(_parsed(received, handler, facts), context)
                async with contextlib.aclosing(responses):
                    async for response in responses:
                        data: bytes = serialise(response)
                        facts.count("responses")
                        facts.count("response_bytes", len(data))
                        await context.write(data)

        return call

    @contextlib.asynccontextmanager
    async def _around(self, method: str, context: _Context) -> AsyncIterator[RpcFacts]:
        """Everything that happens before and after the handler's own work."""
        metadata = tuple(context.invocation_metadata() or ())
        request_id = _request_id(metadata)
        context.set_trailing_metadata(((REQUEST_ID_METADATA_KEY, request_id),))
        outcome = _Outcome()
        with (
            recording_facts() as facts,
            self._auditing(method, context, request_id, outcome),
            self._accounting(method, request_id, outcome, facts),
        ):
            try:
                with self._tenant_of(method, metadata, facts):
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
        if self._audit is None or method.startswith(_INFRASTRUCTURE):
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
    def _tenant_of(self, method: str, metadata: _Metadata, facts: RpcFacts) -> Iterator[None]:
        if method.startswith(_INFRASTRUCTURE):
            yield
            return
        tenant = self._tenants.resolve(metadata)
        facts.add(tenant=tenant_tag(tenant))
        audit_record().subject = tenant_tag(tenant)
        with acting_for(tenant):
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
        await context.abort(error.code, str(error), (*errors.details_metadata(error), request_id_pair))

    @contextlib.contextmanager
    def _accounting(self, method: str, request_id: str, outcome: _Outcome, facts: RpcFacts) -> Iterator[None]:
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
            log = self._telemetry.log.debug if method.startswith(_INFRASTRUCTURE) else self._telemetry.log.info
            line = {**facts.as_dict(), "method": method, "code": code, "request_id": request_id}
            if outcome.reason:
                line["reason"] = outcome.reason
            log("rpc", **line, duration_ms=round(seconds * 1000, 3))


def _note_cancelled(context: _Context, outcome: _Outcome) -> None:
    """GRPC cancels the handler when the caller cancels or goes away, and when the deadline passes."""
    remaining = context.time_remaining()
    if remaining is not None and remaining <= 0:
        outcome.code, outcome.reason = grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded.reason
    else:
        outcome.code = grpc.StatusCode.CANCELLED


def _request_id(metadata: _Metadata) -> str:
    for key, value in metadata:
        if key == REQUEST_ID_METADATA_KEY and isinstance(value, str) and _REQUEST_ID.fullmatch(value):
            return value
    return uuid.uuid4().hex


def _parsed(received: Any, handler: _Handler, facts: RpcFacts) -> Any:
    """Returns the request, or the iterator of requests, of what was received as bytes."""
    deserialise: Any = handler.request_deserializer

    def parse(data: bytes) -> Any:
        facts.count("request_bytes", len(data))
        try:
            return deserialise(data)
        except DecodeError:
            raise errors.InvalidField("the bytes are no message of this method's request type") from None

    async def parse_all() -> AsyncIterator[Any]:
        async for data in received:
            facts.count("requests")
            yield parse(data)

    return parse_all() if handler.request_streaming else parse(received)
