"""A gRPC server from start to drained stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hilum.serving.admission import admission_from
from hilum.serving.audit import AuditTrail
from hilum.serving.audit_sinks import audit_sink
from hilum.serving.byte_budget import ByteBudget
from hilum.serving.certificates import ServerCertificates
from hilum.serving.health import Dependency, Health
from hilum.serving.interceptors import RpcInterceptor
from hilum.serving.received import Receiving
from hilum.serving.settings import ServiceSettings
from hilum.serving.telemetry import Telemetry

# For handlers whose calls were cut off, to let go of what they hold.
_CLEAN_UP_S = 5.0

# adder: a generated add_<Service>Servicer_to_server
Adder = Callable[[Any, grpc.aio.Server], None]


class Server:
    """Serves services with health, reflection, metrics and one interceptor, and stops without cutting requests off.

    Usage::

        server = Server(settings, telemetry, dependencies=[Dependency("redis", cache.ping, required=False)])
        server.resources.push_async_callback(cache.close)
        server.add(SERVICE_NAME, add_EncoderServiceServicer_to_server, servicer)
        return await server.run_until_signal()

    Args:
        settings: Address, limits, drain time.
        telemetry: The server's log and metrics.
        dependencies: What health pings.

    Raises:
        ConfigurationError: A certificate, key set or policy cannot be used.

    Attributes:
        held: What bytes of requests are taken from; for servicers that keep what a stream brings.
        warm_ups: Awaited before the server listens, so that the first caller does not pay for what happens once.
        resources: What is closed after the last request has ended, last in first out.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        telemetry: Telemetry,
        *,
        dependencies: Sequence[Dependency] = (),
    ) -> None:
        self._settings = settings
        self._telemetry = telemetry
        self._dependencies = tuple(dependencies)
        self._certificates: ServerCertificates | None = None
        if settings.tls_certificate is not None and settings.tls_key is not None:
            files = (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
            self._certificates = ServerCertificates(*files, telemetry)
        self.held = ByteBudget(settings.max_held_bytes, telemetry=telemetry)
        receiving = Receiving(self.held, settings.stall_s)
        self._audit = audit_trail(settings, telemetry)
        self._interceptor = RpcInterceptor(telemetry, admission_from(settings, telemetry), receiving, self._audit)
        self._services: list[tuple[str, Adder, Any]] = []
        self.resources = contextlib.AsyncExitStack()
        self.warm_ups: list[Callable[[], Awaitable[None]]] = []
        self._stop_asked = asyncio.Event()
        self._grpc: grpc.aio.Server | None = None
        self._probed: grpc.aio.Server | None = None
        self._health: Health | None = None
        self._hurry: asyncio.Future[None] | None = None

    def add(self, service: str, adder: Adder, servicer: object) -> None:
        """Adds a service before the start.

        Args:
            service: Full name, such as "hilum.v1.EncoderService".
            adder: The generated add_<Service>Servicer_to_server.
            servicer: The implementation; streaming methods are async generators.
        """
        self._services.append((service, adder, servicer))

    async def start(self) -> str:
        """Listens, and returns "host:port" with the port that was bound.

        Raises:
            OSError: If an address cannot be bound.
        """
        settings, log = self._settings, self._telemetry.log
        names = [name for name, _, _ in self._services]
        self._health = Health(names, self._dependencies, self._telemetry, interval_s=settings.health_interval_s)
        self._grpc = grpc.aio.server(
            interceptors=[self._interceptor],
            options=_channel_options(settings.max_message_bytes),
        )
        for _, adder, servicer in self._services:
            adder(servicer, self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._grpc)
        for warm_up in self.warm_ups:
            await warm_up()
        port = self._bind(self._grpc, settings.port, self._certificates)
        metrics_port = self._telemetry.serve_metrics(settings.host, settings.metrics_port)
        self.resources.callback(self._telemetry.close)
        await self._health.start()
        await self._grpc.start()
        health_port = await self._answer_probes(self._health, settings.health_port)
        address = f"{_bracketed(settings.host)}:{port}"
        if settings.uses_development_key and not settings.is_loopback:
            log.warning("development_key", hint="Anyone can compute embedding ids: set HILUM_EMBEDDING_KEY_FILE.")
        log.info("ready", address=address, metrics_port=metrics_port, health_port=health_port, services=names)
        return address

    async def run_until_signal(self) -> int:
        """Serves until SIGTERM, SIGINT, or the parent's end; then drains. For an entry point.

        A second signal ends the drain at once.

        Returns:
            Exit code: 0, or 1 if the server could not start.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        self._telemetry.adopt_standard_logging()
        async with self.resources:
            try:
                await self.start()
            except OSError as error:
                self._telemetry.log.error("cannot_start", error=str(error))  # noqa: TRY400  # the operator's matter
                return 1
            if self._settings.stop_with_parent:
                loop.add_reader(sys.stdin.fileno(), self._parent_wrote)
            await self._stop_asked.wait()
            await self.stop()
        return 0

    async def stop(self) -> None:
        """Drains: NOT_SERVING, no new requests, running ones may go on for `drain_s`. Does not close `resources`."""
        if self._grpc is None or self._health is None:
            return
        self._telemetry.log.info("draining", drain_s=self._settings.drain_s)
        await self._health.drain()
        await self._grpc.stop(self._settings.drain_s)
        await self._interceptor.all_ended(_CLEAN_UP_S)
        if self._probed is not None:
            await self._probed.stop(0)
        if self._audit is not None:
            await asyncio.to_thread(self._audit.close)
        self._telemetry.log.info("stopped")

    async def _answer_probes(self, health: Health, port: int | None) -> int | None:
        """Starts the server for health checks alone, which answers until the drain is over; returns its port."""
        if port is None:
            return None
        self._probed = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        health_pb2_grpc.add_HealthServicer_to_server(health, self._probed)
        bound = self._bind(self._probed, port)
        await self._probed.start()
        return bound

    def _bind(self, server: grpc.aio.Server, port: int, certificates: ServerCertificates | None = None) -> int:
        address = f"{_bracketed(self._settings.host)}:{port}"
        try:
            if certificates is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, certificates.credentials())
        except RuntimeError as error:
            raise OSError(f"{address} cannot be bound; is the port taken?") from error

    def _signalled(self, number: int) -> None:
        self._telemetry.log.info("signal", signal=signal.Signals(number).name)
        if self._stop_asked.is_set() and self._grpc is not None:
            self._hurry = asyncio.ensure_future(self._grpc.stop(None))
        self._stop_asked.set()

    def _parent_wrote(self) -> None:
        """Reads the parent's pipe, which never holds anything but its end."""
        descriptor = sys.stdin.fileno()
        if not os.read(descriptor, 4096):
            asyncio.get_running_loop().remove_reader(descriptor)
            self._telemetry.log.info("parent_ended")
            self._stop_asked.set()


def audit_trail(settings: ServiceSettings, telemetry: Telemetry) -> AuditTrail | None:
    """Returns the audit trail that the settings name.

    Raises:
        SystemExit: With one line that says what is wrong: a server that should be audited does not run without.
    """
    if settings.audit is None:
        return None
    try:
        return AuditTrail(audit_sink(settings.audit, settings.audit_ca), telemetry)
    except (OSError, ValueError) as error:
        raise SystemExit(f"HILUM_AUDIT: {error}") from None


def _channel_options(max_message_bytes: int) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # A taken port is an error, not a share of somebody else's calls.
        ("grpc.so_reuseport", 0),
        # Callers that vanished without a word are noticed within 80 s, and their work is cancelled.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
