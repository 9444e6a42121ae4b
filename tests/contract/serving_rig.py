"""A server with the servers' interceptor, two servicers that do what a test asks, and calls of every kind to them."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import grpc
import grpc.aio
import pytest

from hilum.connection import STATUS_LOST
from hilum.serving.admission import TrustedNetwork
from hilum.serving.byte_budget import ByteBudget
from hilum.serving.deadline import remaining_s
from hilum.serving.interceptors import RpcInterceptor
from hilum.serving.priority import Priority, current_priority
from hilum.serving.received import Receiving
from hilum.serving.telemetry import Telemetry, rpc_facts
from hilum.serving.tenant import TenantResolver, current_tenant
from hilum.v1 import encoder_service_pb2, encoder_service_pb2_grpc, fusion_service_pb2, fusion_service_pb2_grpc

PATIENCE_S = 30

Action = Callable[[Any], Awaitable[None]]

# The stubs call every method abstract; at run time those left out answer UNIMPLEMENTED.
EncoderBase: Any = encoder_service_pb2_grpc.EncoderServiceServicer
FusionBase: Any = fusion_service_pb2_grpc.FusionServiceServicer


@dataclass
class Behaviour:
    """What the servicers below do in every method, set by each test, and what they saw."""

    action: Action | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    tenants: list[str] = field(default_factory=list)
    priorities: list[Priority] = field(default_factory=list)
    remaining_s: list[float | None] = field(default_factory=list)

    async def act(self, context: Any) -> None:
        """Does what the test asked for."""
        self.tenants.append(current_tenant())
        self.priorities.append(current_priority())
        self.remaining_s.append(remaining_s())
        rpc_facts().add(cache_hit=True)
        if self.action is not None:
            await self.action(context)

    async def hang(self, context: Any) -> None:
        """Waits until it is cancelled."""
        del context
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


class Encoder(EncoderBase):  # type: ignore[misc]  # Any as base, see there
    """A unary-unary and a stream-stream method."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def GetEmbedding(self, request: Any, context: Any) -> Any:  # noqa: N802  # the RPC's name
        """Acts once."""
        await self._behaviour.act(context)
        return encoder_service_pb2.GetEmbeddingResponse()

    async def EncodeImages(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  # the RPC's name
        """Answers every item, and then acts."""
        async for request in request_iterator:
            yield encoder_service_pb2.EncodeImagesResponse(item_id=request.item_id)
        await self._behaviour.act(context)


class Fusion(FusionBase):  # type: ignore[misc]  # Any as base, see there
    """A unary-stream and a stream-unary method."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def RegisterImages(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802  # the RPC's name
        """Reports twice, and then acts."""
        for _ in range(2):
            yield fusion_service_pb2.RegisterImagesResponse()
        await self._behaviour.act(context)

    async def ProjectVolume(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802  # the RPC's name
        """Reads everything, and then acts."""
        async for _ in request_iterator:
            pass
        await self._behaviour.act(context)
        return fusion_service_pb2.ProjectVolumeResponse()


class Log(io.StringIO):
    """A log that says when a canonical line has been written."""

    def __init__(self) -> None:
        super().__init__()
        self.has_line = asyncio.Event()

    def write(self, text: str) -> int:
        """Takes a line."""
        length = super().write(text)
        if '"event": "rpc"' in text:
            self.has_line.set()
        return length


class Rig:
    """A server on loopback, a channel to it, and everything it says."""

    def __init__(self, tenants: TenantResolver, *, max_held_bytes: int = 2**30, stall_s: float = 30) -> None:
        self.behaviour = Behaviour()
        self.stream = Log()
        self.telemetry = Telemetry("test", stream=self.stream)
        self.held = ByteBudget(max_held_bytes, telemetry=self.telemetry)
        receiving = Receiving(self.held, stall_s)
        self._server = grpc.aio.server(
            interceptors=[RpcInterceptor(self.telemetry, TrustedNetwork(tenants), receiving)]
        )
        encoder_service_pb2_grpc.add_EncoderServiceServicer_to_server(Encoder(self.behaviour), self._server)
        fusion_service_pb2_grpc.add_FusionServiceServicer_to_server(Fusion(self.behaviour), self._server)
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    async def __aenter__(self) -> "Rig":
        await self._server.start()
        self.address = f"127.0.0.1:{self._port}"
        self.channel: Any = grpc.aio.insecure_channel(f"127.0.0.1:{self._port}")
        self.encoder: Any = encoder_service_pb2_grpc.EncoderServiceStub(self.channel)
        self.fusion: Any = fusion_service_pb2_grpc.FusionServiceStub(self.channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
        await self._server.stop(0)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Returns the log lines of one event."""
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    async def line_written(self) -> dict[str, Any]:
        """Returns the one canonical line; it is written after the caller has its answer."""
        await self.stream.has_line.wait()
        (line,) = self.lines("rpc")
        return line


async def unary_unary(rig: Rig, **options: Any) -> Any:
    """Calls GetEmbedding."""
    await rig.encoder.GetEmbedding(encoder_service_pb2.GetEmbeddingRequest(embedding_id=b"x"), **options)


async def unary_stream(rig: Rig, **options: Any) -> Any:
    """Calls RegisterImages and reads all."""
    async for _ in rig.fusion.RegisterImages(fusion_service_pb2.RegisterImagesRequest(model="m"), **options):
        pass


def _with_its_status(ask: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    # A refusal that comes while a request is written is seldom lost in gRPC; the SDK asks again, too.
    @wraps(ask)
    async def asked(rig: Rig, **options: Any) -> None:
        try:
            await ask(rig, **options)
        except grpc.aio.AioRpcError as error:
            if error.details() != STATUS_LOST:
                raise
            await asked(rig, **options)

    return asked


@_with_its_status
async def stream_unary(rig: Rig, **options: Any) -> Any:
    """Calls ProjectVolume with two messages."""
    messages = [fusion_service_pb2.ProjectVolumeRequest(voxels=b"x")] * 2
    await rig.fusion.ProjectVolume(iter(messages), **options)


@_with_its_status
async def stream_stream(rig: Rig, **options: Any) -> Any:
    """Calls EncodeImages with two items and reads all."""
    items = [encoder_service_pb2.EncodeImagesRequest(item_id=name) for name in "ab"]
    async for _ in rig.encoder.EncodeImages(iter(items), **options):
        pass


KINDS = pytest.mark.parametrize("call", [unary_unary, unary_stream, stream_unary, stream_stream])


async def failure(calling: Awaitable[None]) -> grpc.aio.AioRpcError:
    """Returns what a call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calling
    return caught.value
