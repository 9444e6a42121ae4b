"""What the interceptor bounds, over a real connection: bytes, waiting for callers, and what callers are told."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc.aio
import pytest

from hilum import errors
from hilum.serving.priority import Priority
from hilum.serving.tenant import DefaultTenant
from hilum.v1 import encoder_service_pb2, encoder_service_pb2_grpc
from tests.contract.serving_rig import KINDS, PATIENCE_S, Rig, failure, stream_stream, unary_unary


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A server with much room."""
    async with asyncio.timeout(PATIENCE_S), Rig(DefaultTenant()) as rig:
        yield rig


def items(size_bytes: int = 0, count: int = 10**6) -> Iterator[encoder_service_pb2.EncodeImagesRequest]:
    """Yields items of EncodeImages, which are sent back."""
    for _ in range(count):
        yield encoder_service_pb2.EncodeImagesRequest(item_id="x" * size_bytes)


async def test_push_back_is_obeyed_by_grpc_itself(rig: Rig) -> None:
    """A client of any language whose retry policy names RESOURCE_EXHAUSTED comes back when the service says."""
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "3600s",
        "maxBackoff": "3600s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["RESOURCE_EXHAUSTED"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    refusals = iter([errors.Overloaded("full", retry_after_s=0.01)] * 2)

    async def refuse_twice(context: Any) -> None:
        del context
        for error in refusals:
            raise error

    rig.behaviour.action = refuse_twice
    options = [("grpc.service_config", config), ("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(rig.address, options=options) as channel:
        stub: Any = encoder_service_pb2_grpc.EncoderServiceStub(channel)
        await stub.GetEmbedding(encoder_service_pb2.GetEmbeddingRequest())
    assert len(rig.behaviour.tenants) == 3


@KINDS
async def test_handlers_know_class_and_deadline(rig: Rig, call: Any) -> None:
    """The class that a header names, and the time that is left, are known while a call of any kind is handled."""
    await call(rig, metadata=(("x-hilum-priority", "batch"),), timeout=PATIENCE_S)
    (left,) = rig.behaviour.remaining_s
    assert left is not None
    assert 0 < left < PATIENCE_S + 1  # gRPC rounds deadlines up on the wire
    error = errors.from_rpc_error(await failure(call(rig, metadata=(("x-hilum-priority", "urgent"),))))
    assert isinstance(error, errors.InvalidField)
    await call(rig)
    assert rig.behaviour.remaining_s[1:] == [None]
    assert rig.behaviour.priorities == [
        Priority.BATCH,
        Priority.BATCH if call is stream_stream else Priority.INTERACTIVE,
    ]


async def test_requests_beyond_the_bytes_are_refused() -> None:
    """While large requests are handled another is refused, a small one is not, and afterwards there is room again."""
    large = encoder_service_pb2.GetEmbeddingRequest(embedding_id=bytes(60_000))
    async with asyncio.timeout(PATIENCE_S), Rig(DefaultTenant(), max_held_bytes=100_000) as rig:
        rig.behaviour.action = rig.behaviour.hang
        held = rig.encoder.GetEmbedding(large)
        await rig.behaviour.started.wait()
        assert rig.telemetry.value("hilum_held_bytes") > 60_000
        rig.behaviour.action = None
        error = errors.from_rpc_error(await failure(rig.encoder.GetEmbedding(large)))
        assert isinstance(error, errors.Overloaded)
        assert error.retry_after_s
        await unary_unary(rig)
        held.cancel()
        await rig.behaviour.cancelled.wait()
        await rig.encoder.GetEmbedding(large)
        assert rig.held.held_bytes == 0


async def test_a_caller_that_stops_reading_is_not_waited_for() -> None:
    """A stream whose caller takes no more answers ends, and its handler lets go of what it held."""
    async with asyncio.timeout(PATIENCE_S), Rig(DefaultTenant(), stall_s=0.3) as rig:
        call = rig.encoder.EncodeImages(items(size_bytes=500_000))
        await call.read()
        line = await rig.line_written()
        assert (line["code"], line["responses"] > 0) == ("DEADLINE_EXCEEDED", True)
        call.cancel()


async def test_a_caller_that_stops_sending_is_not_waited_for() -> None:
    """A stream whose caller sends nothing more, and does not hang up, ends with a typed error."""
    async with asyncio.timeout(PATIENCE_S), Rig(DefaultTenant(), stall_s=0.3) as rig:
        call = rig.encoder.EncodeImages()
        await call.write(encoder_service_pb2.EncodeImagesRequest(item_id="a"))
        assert (await call.read()).item_id == "a"
        error = errors.from_rpc_error(await failure(call.read()))
        assert isinstance(error, errors.DeadlineExceeded)
        assert "sends nothing" in error.message
