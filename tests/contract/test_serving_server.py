"""A server process from its ready line to its exit code."""

import asyncio
import contextlib
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pydantic import SecretStr

from hilum.serving.health import ALIVE, NOT_SERVING, SERVING
from hilum.serving.server import Server
from hilum.serving.settings import ServiceSettings
from hilum.serving.telemetry import Telemetry
from hilum.v1 import encoder_service_pb2, encoder_service_pb2_grpc

PATIENCE_S = 60
SERVICE = "hilum.v1.EncoderService"
ROOT = Path(__file__).parents[2]

# An entry point as services/*/__main__.py have it, with a service that answers every item of a stream.
PROGRAM = """
import asyncio, sys
from hilum.serving.server import Server
from hilum.serving.settings import ServiceSettings
from hilum.serving.telemetry import Telemetry
from hilum.v1 import encoder_service_pb2, encoder_service_pb2_grpc

class Echo(encoder_service_pb2_grpc.EncoderServiceServicer):
    async def EncodeImages(self, requests, context):
        async for request in requests:
            yield encoder_service_pb2.EncodeImagesResponse(item_id=request.item_id)

async def main():
    settings = ServiceSettings.load()
    telemetry = Telemetry("echo")
    server = Server(settings, telemetry)
    server.resources.callback(telemetry.log.info, "resource_closed")
    server.add("hilum.v1.EncoderService", encoder_service_pb2_grpc.add_EncoderServiceServicer_to_server, Echo())
    return await server.run_until_signal()

sys.exit(asyncio.run(main()))
"""


class ServerProcess:
    """A server in a process of its own; the test holds the other end of its standard input."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []

    async def event(self, name: str) -> dict[str, Any]:
        """Returns the next log line of that event."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == name:
                return self.events[-1]
        raise AssertionError(f"ended without {name}: {self.events}")

    async def rest(self) -> list[str]:
        """Returns the names of all events once the process has ended."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.events.append(json.loads(line))
        await self.process.wait()
        return [event["event"] for event in self.events]


@contextlib.asynccontextmanager
async def _server(**settings: str) -> AsyncIterator[ServerProcess]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HILUM_")}
    environment |= {f"HILUM_{name.upper()}": value for name, value in settings.items()}
    async with asyncio.timeout(PATIENCE_S):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment | {"PYTHONPATH": str(ROOT)},
        )
        try:
            yield ServerProcess(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@contextlib.asynccontextmanager
async def _stream(address: str) -> AsyncIterator[Any]:
    """Opens a stream that the server is answering."""
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = encoder_service_pb2_grpc.EncoderServiceStub(channel).EncodeImages()
        await call.write(encoder_service_pb2.EncodeImagesRequest(item_id="before"))
        assert (await call.read()).item_id == "before"
        yield call


async def test_sigterm_lets_running_requests_finish() -> None:
    """After SIGTERM health turns, newcomers are refused, the running request ends well, resources close, exit 0."""
    async with _server(drain_s="60") as server:
        address = (await server.event("ready"))["address"]
        async with _stream(address) as call, grpc.aio.insecure_channel(address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
            assert (await watch.read()).status == SERVING
            server.process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == NOT_SERVING
            assert await watch.read() is grpc.aio.EOF
            await server.event("draining")
            async with grpc.aio.insecure_channel(address) as newcomer:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await health_pb2_grpc.HealthStub(newcomer).Check(health_pb2.HealthCheckRequest())
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            await call.write(encoder_service_pb2.EncodeImagesRequest(item_id="after"))
            assert (await call.read()).item_id == "after"
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
            assert await call.code() is grpc.StatusCode.OK
        events = await server.rest()
        assert events[-3:] == ["rpc", "stopped", "resource_closed"]
        assert server.process.returncode == 0


async def test_probes_are_answered_until_the_drain_is_over() -> None:
    """The health port serves health alone, and says during the drain that the process is alive but takes no calls."""
    async with _server(drain_s="60", health_port="0") as server:
        ready = await server.event("ready")
        probed = f"127.0.0.1:{ready['health_port']}"
        async with _stream(ready["address"]) as call, grpc.aio.insecure_channel(probed) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            assert (await check(health_pb2.HealthCheckRequest(service=SERVICE))).status == SERVING
            other: Any = encoder_service_pb2_grpc.EncoderServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await other.GetCapabilities(encoder_service_pb2.GetCapabilitiesRequest())
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            server.process.send_signal(signal.SIGTERM)
            await server.event("draining")
            assert (await check(health_pb2.HealthCheckRequest(service=ALIVE))).status == SERVING
            assert (await check(health_pb2.HealthCheckRequest(service=SERVICE))).status == NOT_SERVING
            await call.done_writing()
            assert await call.read() is grpc.aio.EOF
        assert (await server.rest())[-1] == "resource_closed"
        assert server.process.returncode == 0


async def test_draining_ends() -> None:
    """A request that does not end within the drain time is cut off; its handler ends before resources are closed."""
    async with _server(drain_s="0.1") as server, _stream((await server.event("ready"))["address"]) as call:
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert (await server.rest())[-3:] == ["rpc", "stopped", "resource_closed"]
        assert server.process.returncode == 0


async def test_a_second_signal_ends_the_drain() -> None:
    """An operator who presses Ctrl-C twice does not wait for the drain."""
    async with _server(drain_s="3600") as server, _stream((await server.event("ready"))["address"]) as call:
        server.process.send_signal(signal.SIGINT)
        await server.event("draining")
        server.process.send_signal(signal.SIGINT)
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        assert (await server.rest())[-1] == "resource_closed"
        assert server.process.returncode == 0


async def test_no_server_outlives_its_launcher() -> None:
    """With stop_with_parent the server stops when the launcher's end of the pipe closes, as it does on any death."""
    async with _server(stop_with_parent="true") as server:
        await server.event("ready")
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert "parent_ended" in await server.rest()
        assert server.process.returncode == 0


async def test_a_taken_port_is_one_line_and_exit_1() -> None:
    """A port that another server has is an error at the start, not a share of its calls."""
    async with _server() as first:
        address = (await first.event("ready"))["address"]
        async with _server(port=address.rpartition(":")[2]) as second:
            assert await second.rest() == ["cannot_start", "resource_closed"]
            assert address in second.events[0]["error"]
            assert second.process.returncode == 1


class Echo(encoder_service_pb2_grpc.EncoderServiceServicer):
    """Nothing but the service's name is needed here."""


@contextlib.asynccontextmanager
async def _in_process(settings: ServiceSettings) -> AsyncIterator[tuple[str, Telemetry, io.StringIO]]:
    log = io.StringIO()
    telemetry = Telemetry("test", stream=log)
    server = Server(settings, telemetry)
    adder: Any = encoder_service_pb2_grpc.add_EncoderServiceServicer_to_server
    server.add(SERVICE, adder, Echo())  # type: ignore[abstract]  # its methods answer UNIMPLEMENTED
    async with asyncio.timeout(PATIENCE_S), server.resources:
        yield await server.start(), telemetry, log
        await server.stop()


async def test_reflection_lists_the_services() -> None:
    """Tools such as grpcurl find the services without .proto files."""
    async with _in_process(ServiceSettings()) as (address, _, _), grpc.aio.insecure_channel(address) as channel:
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = await reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request])).read()
        names = {service.name for service in answer.list_services_response.service}
    assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


async def test_messages_over_the_limit_are_refused() -> None:
    """A message over max_message_bytes is RESOURCE_EXHAUSTED before a handler sees it; one below gets through."""
    async with (
        _in_process(ServiceSettings(max_message_bytes=2**20)) as (address, _, _),
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub: Any = encoder_service_pb2_grpc.EncoderServiceStub(channel)
        for size, code in ((2**20, grpc.StatusCode.RESOURCE_EXHAUSTED), (2**20 - 64, grpc.StatusCode.UNIMPLEMENTED)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetEmbedding(encoder_service_pb2.GetEmbeddingRequest(embedding_id=bytes(size)))
            assert caught.value.code() is code


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        (ServiceSettings(host="::", allow_insecure=True), True),
        (ServiceSettings(host="::", allow_insecure=True, embedding_key=SecretStr("00" * 32)), False),
        (ServiceSettings(), False),
    ],
    ids=["reachable", "own key", "loopback"],
)
async def test_the_published_key_is_warned_about(settings: ServiceSettings, warned: bool) -> None:
    """A server that others reach warns that it uses the published key, unless it has its own."""
    async with _in_process(settings) as (_, _, log):
        assert ("development_key" in log.getvalue()) is warned


async def test_probes_need_no_tenant_and_leave_no_lines() -> None:
    """With tenants from metadata, health checks still pass, and their lines do not bury those of requests."""
    async with (
        _in_process(ServiceSettings(tenant_source="metadata")) as (address, telemetry, _),
        grpc.aio.insecure_channel(address) as channel,
    ):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE))
        assert answer.status == SERVING
        method = "/grpc.health.v1.Health/Check"
        assert telemetry.value("hilum_rpcs_total", method=method, code="OK", reason="") == 1
