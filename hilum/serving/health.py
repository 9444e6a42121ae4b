"""grpc.health.v1 for a server and what it depends on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hilum.serving.telemetry import Telemetry

OVERALL = ""
DEPENDENCY_PREFIX = "hilum.dependency."
# Serving as long as the process answers at all, whatever its dependencies do and while it drains: for probes that
# restart what does not answer, as a restart brings no dependency back.
ALIVE = "hilum.alive"

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@dataclass(frozen=True)
class Dependency:
    """Something that a server needs or likes to have.

    Attributes:
        name: Word for metrics, logs and the health service "hilum.dependency.<name>".
        ping: Returns whether it answers; raising counts as no.
        required: Whether the server's own services are NOT_SERVING without it. Redis is not: it only saves time.
    """

    name: str
    ping: Callable[[], Awaitable[bool]]
    required: bool


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc_health ships no types
    """Health of every service, of the server (""), of each dependency, and whether the process is alive (ALIVE).

    Our own servicer, as the one that grpcio-health-checking brings forgets all watchers of a service when the first of
    them leaves, and keeps Watch streams open while the server drains.

    Args:
        services: Full names of the server's services.
        dependencies: What is pinged.
        telemetry: Where changes are logged and shown.
        interval_s: Time between pings, in seconds.
        ping_timeout_s: A ping that takes longer counts as unanswered, in seconds.
    """

    def __init__(
        self,
        services: Sequence[str],
        dependencies: Sequence[Dependency],
        telemetry: Telemetry,
        *,
        interval_s: float = 5.0,
        ping_timeout_s: float = 2.0,
    ) -> None:
        self._services = (OVERALL, *services)
        self._dependencies = tuple(dependencies)
        self._telemetry = telemetry
        self._interval_s = interval_s
        self._ping_timeout_s = ping_timeout_s
        self._statuses = self._all(NOT_SERVING)
        self._up: dict[str, bool] = {}
        self._changed = asyncio.Condition()
        self._draining = False
        self._pinging: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Pings everything once, so that statuses mean something, and then in the background."""
        await self._ping_all()
        self._pinging = asyncio.create_task(self._keep_pinging())

    async def drain(self) -> None:
        """Turns everything to NOT_SERVING for good and ends Watch streams."""
        self._draining = True
        if self._pinging is not None:
            self._pinging.cancel()
        async with self._changed:
            self._statuses = dict.fromkeys(self._statuses, NOT_SERVING) | {ALIVE: SERVING}
            self._changed.notify_all()

    async def Check(self, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:  # noqa: N802  # the RPC's name
        """Answers a service's status; NOT_FOUND for a name that is not served."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "No service of that name is served here.")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802  # the RPC's name
        self, request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        """Streams a service's status, now and whenever it changes, until the server drains."""
        del context
        sent = None
        while True:
            status = self._statuses.get(request.service, _UNKNOWN)
            if status != sent:
                yield health_pb2.HealthCheckResponse(status=status)
                sent = status
                continue  # it may have changed while it was being sent
            if self._draining and (status in {NOT_SERVING, _UNKNOWN} or request.service == ALIVE):
                return
            async with self._changed:
                if self._statuses.get(request.service, _UNKNOWN) == sent:
                    await self._changed.wait()

    def _all(self, status: Any) -> dict[str, Any]:
        """Returns every service with this status; the process itself is alive."""
        return dict.fromkeys(self._services, status) | {ALIVE: SERVING}

    async def _keep_pinging(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self._ping_all()

    async def _ping_all(self) -> None:
        answers = await asyncio.gather(*(self._answers(dependency) for dependency in self._dependencies))
        for dependency, up in zip(self._dependencies, answers, strict=True):
            if self._up.get(dependency.name) != up:
                log = self._telemetry.log.info if up else self._telemetry.log.warning
                log("dependency", dependency=dependency.name, up=up, required=dependency.required)
            self._up[dependency.name] = up
            self._telemetry.dependency_state(dependency.name, up=up)
        ready = all(self._up[dependency.name] for dependency in self._dependencies if dependency.required)
        async with self._changed:
            self._statuses = self._all(SERVING if ready else NOT_SERVING)
            for name, up in self._up.items():
                self._statuses[DEPENDENCY_PREFIX + name] = SERVING if up else NOT_SERVING
            self._changed.notify_all()

    async def _answers(self, dependency: Dependency) -> bool:
        try:
            async with asyncio.timeout(self._ping_timeout_s):
                return await dependency.ping()
        except Exception:  # noqa: BLE001  # whatever a ping raises, the dependency does not answer
            return False
