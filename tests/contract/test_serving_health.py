"""grpc.health.v1 as load balancers and probes see it, over a real connection."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hilum.serving.health import ALIVE, NOT_SERVING, SERVING, Dependency, Health
from hilum.serving.telemetry import Telemetry

PATIENCE_S = 30
SERVICE = "hilum.v1.EncoderService"


@dataclass
class Backend:
    """A dependency that the test switches."""

    up: bool = True
    error: Exception | None = None
    hangs: bool = False

    async def ping(self) -> bool:
        """Answers, raises or hangs."""
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return self.up


class Rig:
    """A health service on loopback with a required and an optional dependency, pinged all the time."""

    def __init__(self) -> None:
        self.triton, self.redis = Backend(), Backend()
        self.stream = io.StringIO()
        self.telemetry = Telemetry("test", stream=self.stream)
        self.health = Health(
            [SERVICE],
            [
                Dependency("triton", self.triton.ping, required=True),
                Dependency("redis", self.redis.ping, required=False),
            ],
            self.telemetry,
            interval_s=0.001,
            ping_timeout_s=0.05,
        )

    async def __aenter__(self) -> "Rig":
        self._server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self.health.start()
        await self._server.start()
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._stub = health_pb2_grpc.HealthStub(self._channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.health.drain()
        await self._channel.close()
        await self._server.stop(0)

    async def check(self, service: str) -> Any:
        """Returns a service's status."""
        return (await self._stub.Check(health_pb2.HealthCheckRequest(service=service))).status

    def watch(self, service: str) -> Any:
        """Returns a stream of a service's statuses."""
        return self._stub.Watch(health_pb2.HealthCheckRequest(service=service))


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """All up."""
    async with asyncio.timeout(PATIENCE_S), Rig() as rig:
        yield rig


async def _next(watch: Any) -> Any:
    return (await watch.read()).status


async def test_everything_is_serving_when_all_answers(rig: Rig) -> None:
    """The server, its service and its dependencies each have a status from the start."""
    for service in ("", SERVICE, "hilum.dependency.triton", "hilum.dependency.redis"):
        assert await rig.check(service) == SERVING


async def test_unknown_services_are_not_found(rig: Rig) -> None:
    """Check answers NOT_FOUND, and Watch says SERVICE_UNKNOWN and goes on, as the protocol asks."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.check("hilum.v1.Other")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert await _next(rig.watch("hilum.v1.Other")) == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.mark.parametrize("trouble", [Backend(up=False), Backend(error=OSError("refused")), Backend(hangs=True)])
async def test_a_required_dependency_decides(rig: Rig, trouble: Backend) -> None:
    """A required dependency that says no, fails or hangs makes the service NOT_SERVING until it answers again."""
    watch = rig.watch(SERVICE)
    assert await _next(watch) == SERVING
    rig.triton.__dict__.update(trouble.__dict__)
    assert await _next(watch) == NOT_SERVING
    assert await rig.check("") == NOT_SERVING
    assert rig.telemetry.value("hilum_dependency_up", dependency="triton") == 0
    rig.triton.__dict__.update(Backend().__dict__)
    assert await _next(watch) == SERVING
    assert rig.telemetry.value("hilum_dependency_up", dependency="triton") == 1


async def test_an_optional_dependency_only_shows(rig: Rig) -> None:
    """Without Redis the service goes on serving; the dependency's own status and metric say so."""
    watch = rig.watch("hilum.dependency.redis")
    assert await _next(watch) == SERVING
    rig.redis.up = False
    assert await _next(watch) == NOT_SERVING
    assert await rig.check(SERVICE) == SERVING
    assert await rig.check("") == SERVING
    assert rig.telemetry.value("hilum_dependency_up", dependency="redis") == 0


async def test_changes_are_logged_once(rig: Rig) -> None:
    """A dependency that stays away makes one line, however often it is pinged."""
    watch = rig.watch(SERVICE)
    assert await _next(watch) == SERVING
    rig.triton.up = False
    assert await _next(watch) == NOT_SERVING
    rig.triton.up = True
    assert await _next(watch) == SERVING
    lines = [line for line in rig.stream.getvalue().splitlines() if '"triton"' in line]
    assert ['"up": true' in line for line in lines] == [True, False, True]


async def test_a_watcher_that_leaves_does_not_deafen_the_others(rig: Rig) -> None:
    """Every watcher hears of changes, whoever else comes and goes."""
    stays, leaves = rig.watch(SERVICE), rig.watch(SERVICE)
    assert [await _next(stays), await _next(leaves)] == [SERVING, SERVING]
    leaves.cancel()
    rig.triton.up = False
    assert await _next(stays) == NOT_SERVING


async def test_draining_says_so_and_ends_watches(rig: Rig) -> None:
    """A draining server is NOT_SERVING for good, says so to watchers, and does not wait for them."""
    watch = rig.watch(SERVICE)
    assert await _next(watch) == SERVING
    await rig.health.drain()
    assert await _next(watch) == NOT_SERVING
    assert await watch.read() is grpc.aio.EOF
    assert await rig.check(SERVICE) == NOT_SERVING
    assert await rig.check("") == NOT_SERVING


async def test_a_server_without_its_backend_starts_as_not_serving() -> None:
    """A server whose required dependency is away at the start is NOT_SERVING from its first answer on."""
    rig = Rig()
    rig.triton.up = False
    async with asyncio.timeout(PATIENCE_S), rig:
        assert await rig.check(SERVICE) == NOT_SERVING


async def test_a_process_that_answers_is_alive(rig: Rig) -> None:
    """Neither a required dependency that is away nor a drain makes a probe restart the server."""
    watch = rig.watch(SERVICE)
    assert await _next(watch) == SERVING
    rig.triton.up = False
    assert await _next(watch) == NOT_SERVING
    assert await rig.check(ALIVE) == SERVING
    alive = rig.watch(ALIVE)
    assert await _next(alive) == SERVING
    await rig.health.drain()
    assert await alive.read() is grpc.aio.EOF
    assert await rig.check(ALIVE) == SERVING
