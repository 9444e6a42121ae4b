"""What every RPC gets from the servers' interceptor, over a real connection."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from hilum import errors
from hilum.serving.telemetry import rpc_facts
from hilum.serving.tenant import DefaultTenant, MetadataTenant, current_tenant, tenant_tag
from hilum.v1 import encoder_service_pb2
from tests.contract.serving_rig import KINDS, PATIENCE_S, Action, Rig, failure, unary_unary

INSIDE = "a name that must stay inside"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """One institution's server."""
    async with asyncio.timeout(PATIENCE_S), Rig(DefaultTenant()) as rig:
        yield rig


def _raising(error: Exception) -> Action:
    async def act(context: Any) -> None:
        del context
        raise error

    return act


def _metadata(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    return dict(error.trailing_metadata())


@KINDS
async def test_success_is_one_line_and_the_same_numbers_in_metrics(rig: Rig, call: Any) -> None:
    """Every kind of RPC that succeeds leaves one canonical line with the handler's facts, and is counted."""
    await call(rig, metadata=(("x-request-id", "abc-1"),))
    line = await rig.line_written()
    assert {
        "code": "OK",
        "request_id": "abc-1",
        "cache_hit": True,
        "tenant": tenant_tag("default"),
    }.items() <= line.items()
    assert line["request_bytes"] > 0
    assert line["duration_ms"] >= 0
    assert rig.telemetry.value("hilum_rpcs_total", method=line["method"], code="OK", reason="") == 1
    assert rig.telemetry.value("hilum_rpc_seconds_count", method=line["method"], code="OK") == 1
    assert rig.telemetry.value("hilum_rpcs_in_flight", method=line["method"]) == 0


@KINDS
async def test_domain_errors_become_status_with_details(rig: Rig, call: Any) -> None:
    """A HilumError reaches the caller with code, message, reason, field and request id, for every kind of RPC."""
    rig.behaviour.action = _raising(errors.OutsideImage("the box ends at 70, the image at 64", field="prompts[3].box"))
    error = await failure(call(rig))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    domain = errors.from_rpc_error(error)
    assert isinstance(domain, errors.OutsideImage)
    assert (domain.field, domain.message) == ("prompts[3].box", "the box ends at 70, the image at 64")
    line = await rig.line_written()
    assert (line["code"], line["reason"], line["field"]) == ("INVALID_ARGUMENT", "OUTSIDE_IMAGE", "prompts[3].box")
    assert line["request_id"] == _metadata(error)["x-request-id"]
    assert "ends at 70" not in rig.stream.getvalue()


async def test_retry_delay_travels(rig: Rig) -> None:
    """Overload tells the caller when to come back."""
    rig.behaviour.action = _raising(errors.Overloaded("no permit is free", retry_after_s=1.5))
    domain = errors.from_rpc_error(await failure(unary_unary(rig)))
    assert isinstance(domain, errors.Overloaded)
    assert domain.retry_after_s == 1.5


@KINDS
@pytest.mark.parametrize("fault", [RuntimeError(INSIDE), NotImplementedError(INSIDE), errors.BundleError(INSIDE)])
async def test_unexpected_errors_stay_inside(rig: Rig, call: Any, fault: Exception) -> None:
    """Anything unexpected is INTERNAL with the request id; message and traceback are in the server's log only."""
    rig.behaviour.action = _raising(fault)
    error = await failure(call(rig))
    assert isinstance(errors.from_rpc_error(error), errors.InternalError)
    assert INSIDE not in repr(error)
    assert "Traceback" not in repr(error)
    (line,) = rig.lines("server_fault")
    assert line["request_id"] in (error.details() or "")
    assert line["request_id"] == _metadata(error)["x-request-id"]
    assert INSIDE in line["exception"]
    assert (await rig.line_written())["reason"] == "INTERNAL"


@KINDS
async def test_the_deadline_stops_the_handler(rig: Rig, call: Any) -> None:
    """When the deadline passes the handler is cancelled, and the line says DEADLINE_EXCEEDED."""
    rig.behaviour.action = rig.behaviour.hang
    error = await failure(call(rig, timeout=0.2))
    assert isinstance(errors.from_rpc_error(error), errors.DeadlineExceeded)
    await rig.behaviour.cancelled.wait()
    line = await rig.line_written()
    assert (line["code"], line["reason"]) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_the_server_itself_keeps_the_deadline(rig: Rig) -> None:
    """The deadline is the server's to keep too: a caller that never hangs up does not keep the handler running."""
    rig.behaviour.action = rig.behaviour.hang
    # The client library knows of no timeout here, so it is the server that ends the call.
    call = rig.encoder.GetEmbedding(encoder_service_pb2.GetEmbeddingRequest(), metadata=(("grpc-timeout", "200m"),))
    await rig.behaviour.cancelled.wait()
    assert (await failure(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED


@KINDS
async def test_a_caller_that_leaves_stops_the_handler(rig: Rig, call: Any) -> None:
    """When the caller cancels, so is the handler, and the line says CANCELLED."""
    rig.behaviour.action = rig.behaviour.hang
    task = asyncio.create_task(call(rig))
    await rig.behaviour.started.wait()
    task.cancel()
    await rig.behaviour.cancelled.wait()
    assert (await rig.line_written())["code"] == "CANCELLED"


async def test_a_lost_connection_stops_the_handler(rig: Rig) -> None:
    """When the connection goes away, the handler is cancelled."""
    rig.behaviour.action = rig.behaviour.hang
    task = asyncio.create_task(unary_unary(rig))
    await rig.behaviour.started.wait()
    await rig.channel.close()
    await rig.behaviour.cancelled.wait()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("method", ["GetEmbedding", "EncodeImages"])
async def test_bytes_that_are_no_message_are_a_bad_request(rig: Rig, method: str) -> None:
    """Bytes that do not parse are INVALID_ARGUMENT like any other bad request, in unary and streaming calls."""
    path = f"/hilum.v1.EncoderService/{method}"
    if method == "GetEmbedding":
        error = await failure(rig.channel.unary_unary(path)(b"\xff\xff"))
    else:
        answers = rig.channel.stream_stream(path)(iter([b"\xff\xff"]))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await anext(aiter(answers))
        error = caught.value
    assert isinstance(errors.from_rpc_error(error), errors.InvalidField)


async def test_unknown_methods_are_unimplemented(rig: Rig) -> None:
    """A method that is not served is UNIMPLEMENTED, and makes no metric of a caller's words."""
    error = await failure(rig.channel.unary_unary("/hilum.v1.EncoderService/Guess")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "Guess" not in str([metric.samples for metric in rig.telemetry.registry.collect()])


async def test_methods_left_out_are_unimplemented(rig: Rig) -> None:
    """A method of the contract that this server does not implement is UNIMPLEMENTED, not a fault of the server."""
    error = await failure(rig.encoder.GetCapabilities(encoder_service_pb2.GetCapabilitiesRequest()))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert (await rig.line_written())["code"] == "UNIMPLEMENTED"
    assert not rig.lines("server_fault")


async def test_request_ids_are_made_where_they_are_missing_or_odd(rig: Rig) -> None:
    """A request id that could hold anything but an id is replaced; every answer carries the one used."""
    seen = []
    for metadata in ((), (("x-request-id", "Mrs Smith, born 1950"),)):
        call = rig.encoder.GetEmbedding(encoder_service_pb2.GetEmbeddingRequest(), metadata=metadata)
        await call
        seen.append(dict(await call.trailing_metadata())["x-request-id"])
    assert len(set(seen)) == 2
    assert "Smith" not in rig.stream.getvalue() + str(seen)


async def test_an_abort_of_the_handler_itself_is_kept(rig: Rig) -> None:
    """A handler that aborts by itself keeps its code, on the wire and on the line."""

    async def abort(context: Any) -> None:
        await context.abort(grpc.StatusCode.ABORTED, "as it wished")

    rig.behaviour.action = abort
    error = await failure(unary_unary(rig))
    assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "as it wished")
    assert (await rig.line_written())["code"] == "ABORTED"


async def test_the_tenant_comes_from_the_trusted_header() -> None:
    """The handler sees the header's tenant; without the header it is never called."""
    async with asyncio.timeout(PATIENCE_S), Rig(MetadataTenant()) as rig:
        await unary_unary(rig, metadata=(("x-hilum-tenant", "st-mary"),))
        error = errors.from_rpc_error(await failure(unary_unary(rig)))
        assert isinstance(error, errors.InvalidField)
        assert error.field == "x-hilum-tenant"
        assert rig.behaviour.tenants == ["st-mary"]
        assert "st-mary" not in rig.stream.getvalue()
        assert rig.lines("rpc")[0]["tenant"] == tenant_tag("st-mary")


async def test_concurrent_calls_keep_their_own_records() -> None:
    """Facts and tenants of calls that run at the same time do not mix."""
    async with asyncio.timeout(PATIENCE_S), Rig(MetadataTenant()) as rig:
        everyone = asyncio.Barrier(8)

        async def act(context: Any) -> None:
            del context
            await everyone.wait()
            rpc_facts().add(seen_tenant=tenant_tag(current_tenant()))

        rig.behaviour.action = act
        await asyncio.gather(*(unary_unary(rig, metadata=(("x-hilum-tenant", f"t{n}"),)) for n in range(8)))
        lines = rig.lines("rpc")
        assert {line["tenant"] for line in lines} == {tenant_tag(f"t{n}") for n in range(8)}
        assert all(line["tenant"] == line["seen_tenant"] for line in lines)
