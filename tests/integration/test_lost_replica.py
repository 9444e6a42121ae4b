"""Behind the overlay's Envoy no image depends on one replica: while it is dead and not known to be, others answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from deploy.rendered import OVERLAYS, Overlay
from hilum.connection import IMAGE_DIGEST_KEY
from tests.integration.pods import envoy, envoy_configuration, network, until_open

IMAGES = 200
SERVICES = {"encoder": ("EncoderService", 50051), "fusion": ("FusionService", 50053)}


@asynccontextmanager
async def replica(address: str, service: str) -> AsyncIterator[grpc.aio.Server]:
    """Yields a server that answers every call of a service's method `Ask`, with nothing, and says that it serves."""

    async def ask(request: bytes, context: Any) -> bytes:
        del request, context
        return b""

    name, port = SERVICES[service]
    server, status = grpc.aio.server(), health.HealthServicer()
    handlers: dict[str, Any] = {"Ask": grpc.unary_unary_rpc_method_handler(ask)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"hilum.v1.{name}", handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    await status.set(f"hilum.v1.{name}", health_pb2.HealthCheckResponse.SERVING)
    server.add_insecure_port(f"{address}:{port}")
    await server.start()
    try:
        yield server
    finally:
        await server.stop(None)


def unaware(configuration: dict[str, Any]) -> dict[str, Any]:
    """Returns it with nothing in it that would find a dead replica out, so that every call may meet it."""
    for cluster in configuration["static_resources"]["clusters"]:
        cluster.pop("outlier_detection", None)
        for check in cluster.get("health_checks", ()):
            check |= {"interval": "600s", "no_traffic_interval": "600s"}
    return configuration


@pytest.mark.parametrize("service", SERVICES)
async def test_every_image_finds_the_living_replica(service: str, tmp_path: Path) -> None:
    """Of two replicas one is dead: the proxy's own retries find the other for every image, without the client's."""
    net = network()
    addresses, door = [f"{net}.1", f"{net}.2"], f"{net}.101"
    configuration = unaware(envoy_configuration(Overlay.render(OVERLAYS / "dev"), door, {service: addresses}))
    async with replica(addresses[0], service) as dying, replica(addresses[1], service):
        with envoy(configuration, tmp_path) as where:
            await until_open(where)
            async with grpc.aio.insecure_channel(where, options=[("grpc.enable_retries", 0)]) as channel:
                ask: Any = channel.unary_unary(f"/hilum.v1.{SERVICES[service][0]}/Ask")
                await ask(b"")
                await dying.stop(None)
                for image in range(IMAGES):
                    await ask(b"", metadata=((IMAGE_DIGEST_KEY, str(image)),))
