"""The overlay's services and its Envoy are restarted one after the other under load, and no call of the SDK fails."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from deploy.rendered import OVERLAYS, Overlay
from hilum import (
    AsyncClient,
    Box,
    Endpoints,
    Image,
    ProjectionAxis,
    ProjectionMethod,
    Prompt,
    RegistrationOptions,
    TransformModel,
    Volume,
    Window,
)
from hilum.segmentation import EncodeFailure
from hilum.serving.bundle import Bundle
from hilum.types import TargetPair, ViewRelation
from modeling.bundle_writer import write_bundle
from tests.congruence.oracle import RANDOM_SAM_SPEC, random_sam
from tests.integration.pods import GRPC_PORT, envoy, envoy_configuration, network, pod, until_open
from tests.integration.processes import Process, free_port, valkey

REPLICAS = 2
PATIENCE_S = 60
# As many calls of every caller must have begun and ended after a step before the next one.
TURNS = 1
WINDOW = Window(500, 1000)
METHOD = {"encoder": "/hilum.v1.EncoderService/EncodeImage", "fusion": "/hilum.v1.FusionService/FuseImages"}

Call = Callable[[AsyncClient, int], Awaitable[object]]


@dataclass
class Load:
    """Callers that never pause, and what became of their calls.

    Attributes:
        name: Of what is done meanwhile.
        address: Where they call.
        calls: What they do, in turn; the number given is never the same twice.
        callers: How many they are.
        begun: Calls begun, per caller.
        failures: Whatever went wrong.
    """

    name: str
    address: str
    calls: Sequence[Call]
    callers: int = 2
    begun: dict[int, int] = field(default_factory=dict)
    failures: list[Exception] = field(default_factory=list)
    turn: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Makes calls meanwhile, waits for the last of them, and prints how many there were and how many failed."""
        self._stop = False
        self.begun = dict.fromkeys(range(self.callers), 0)
        try:
            async with asyncio.TaskGroup() as callers:
                for number in self.begun:
                    callers.create_task(self._work(number))
                yield
                self._stop = True
        finally:
            print(f"{self.name}: {sum(self.begun.values())} calls, {len(self.failures)} failed")
        assert self.failures == []

    async def has_gone_on(self) -> None:
        """Returns when every caller has made several calls from now on."""
        goals = {number: count + TURNS + 1 for number, count in self.begun.items()}
        async with asyncio.timeout(PATIENCE_S), self.turn:
            await self.turn.wait_for(
                lambda: all(self.begun[number] >= goal for number, goal in goals.items()) or bool(self.failures)
            )
        assert self.failures == []

    async def _work(self, caller: int) -> None:
        async with AsyncClient(Endpoints(self.address, self.address, self.address), timeout_s=PATIENCE_S) as client:
            for turn, call in enumerate(itertools.cycle(self.calls)):
                if self._stop:
                    return
                self.begun[caller] += 1
                try:
                    await call(client, turn * self.callers + caller)
                except Exception as error:  # noqa: BLE001  # whatever it is, the test reports it
                    self.failures.append(error)
                async with self.turn:
                    self.turn.notify_all()


class Cluster:
    """Services of the overlay, on addresses of their own, and as many of its Envoys.

    Args:
        stack: Ends all of it.
        folder: For Envoy's configurations.
        replicas: How many of each service.
        bundle: Of a model that is small, so that many calls are made.
        envoys: How many of Envoy.
    """

    def __init__(
        self, stack: ExitStack, folder: Path, replicas: Mapping[str, int], bundle: Bundle, envoys: int = 1
    ) -> None:
        self._stack = stack
        self._bundle = bundle
        self._overlay = Overlay.render(OVERLAYS / "dev")
        net = network()
        port = free_port()
        stack.enter_context(valkey(port))
        self._redis = f"redis://127.0.0.1:{port}"
        self._envoy_addresses = [f"{net}.{number}" for number in range(101, 101 + envoys)]
        self._folder = folder
        self._services = {
            f"{net}.{number}": service
            for number, service in enumerate((name for name, count in replicas.items() for _ in range(count)), start=1)
        }
        with ThreadPoolExecutor() as pool:
            self.replicas = dict(zip(self._services, pool.map(self._started, self._services), strict=True))
        self._envoys = [self._envoy(address) for address in self._envoy_addresses]

    @property
    def address(self) -> str:
        """Envoy's, in gRPC's notation: of several, the first that answers."""
        return "ipv4:" + ",".join(f"{address}:{GRPC_PORT}" for address in self._envoy_addresses)

    async def until_open(self) -> None:
        """Waits until every Envoy takes calls."""
        await asyncio.gather(*(until_open(f"{address}:{GRPC_PORT}") for address in self._envoy_addresses))

    async def restart(self, address: str) -> None:
        """Drains a replica, as Kubernetes does, and starts another in its place."""
        os.kill(self.replicas[address].pid, signal.SIGTERM)
        assert await asyncio.to_thread(self.replicas[address].stop) == 0
        self.replicas[address] = await asyncio.to_thread(self._started, address)

    def stop_envoy(self, number: int) -> None:
        """Ends an Envoy, connections and calls included."""
        self._envoys[number].close()

    async def start_envoy(self, number: int) -> None:
        """Starts another in its place."""
        address = self._envoy_addresses[number]
        self._envoys[number] = self._envoy(address)
        await until_open(f"{address}:{GRPC_PORT}")

    def _started(self, address: str) -> Process:
        service = self._services[address]
        where = {"redis": self._redis, "envoy": self._envoy_addresses[0]}
        process = pod(self._overlay, service, address, bundle=None if service == "fusion" else self._bundle, **where)
        return self._stack.enter_context(process)

    def _envoy(self, address: str) -> ExitStack:
        pods: dict[str, list[str]] = {}
        for replica, service in self._services.items():
            pods.setdefault(service, []).append(replica)
        folder = self._folder / address
        folder.mkdir(exist_ok=True)
        alone = self._stack.enter_context(ExitStack())
        alone.enter_context(envoy(envoy_configuration(self._overlay, address, pods), folder))
        return alone


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Segment-anything's architecture, small and with random weights."""
    folder = tmp_path_factory.mktemp("bundles") / RANDOM_SAM_SPEC.name
    return write_bundle(random_sam(), RANDOM_SAM_SPEC, folder).bundle


def image(seed: int) -> Image:
    """Returns a bright disc on noise, (60, 64) int16."""
    rows, columns = np.mgrid[:60, :64]
    disc = (rows - 27) ** 2 + (columns - 32) ** 2 < 9**2
    noise = np.random.default_rng(seed).normal(300, 60, (60, 64))
    return Image((noise + 400 * disc).astype(np.int16))


async def encode(client: AsyncClient, seed: int) -> None:
    await client.encode(image(seed), mapping=WINDOW)


async def encode_series(client: AsyncClient, seed: int) -> None:
    series = [image(1_000_000 + 2 * seed + number) for number in range(2)]
    answers = [answer async for answer in client.encode_many(series, mapping=WINDOW)]
    assert len(answers) == len(series)
    assert [answer for answer in answers if isinstance(answer, EncodeFailure)] == []


async def predict(client: AsyncClient, seed: int) -> None:
    """Prompts for one of three images, as a rule known: what is restarted is not the encoder."""
    await client.predict(image(seed % 3), [Prompt(box=Box(22, 17, 42, 37))], mapping=WINDOW, region=None)


async def project(client: AsyncClient, seed: int) -> None:
    voxels = np.random.default_rng(seed).integers(-1000, 1500, (8, 64, 64)).astype(np.int16)
    await client.project(Volume(voxels), axis=ProjectionAxis.DEPTH, method=ProjectionMethod.MEAN)


async def register_and_fuse(client: AsyncClient, seed: int) -> None:
    """Fuses by the transform's id: the replica that is asked need not be the one that found it."""
    fixed, moving = image(seed), image(seed + 1)
    outline = fixed.pixels > 600
    registration = await client.register(
        fixed,
        moving,
        view_relation=ViewRelation.COMPARABLE,
        targets=[TargetPair(outline, outline)],
        options=RegistrationOptions(TransformModel.RIGID),
    )
    await client.fuse(fixed, moving, registration.transform.transform_id, accepted_flags=registration.transform.flags)


async def until_asked_again(cluster: Cluster, address: str, service: str, load: Load) -> None:
    """Returns when a replica that was started anew gets calls."""
    while cluster.replicas[address].metric("hilum_rpcs_total", method=METHOD[service], code="OK") == 0:
        await load.has_gone_on()


@pytest.mark.parametrize(
    ("service", "callers", "calls"),
    # A starting fusion service needs the processors that two of its callers would take.
    [("encoder", 2, (encode, encode_series)), ("fusion", 1, (project, register_and_fuse))],
)
async def test_services(
    small_bundle: Bundle, tmp_path: Path, service: str, callers: int, calls: Sequence[Call]
) -> None:
    """Every replica of a service is drained and replaced, one after the other: no call fails."""
    with ExitStack() as stack:
        cluster = Cluster(stack, tmp_path, {service: REPLICAS}, small_bundle)
        await cluster.until_open()
        load = Load(f"rolling restart of {REPLICAS} x {service}", cluster.address, calls, callers)
        async with load.running():
            await load.has_gone_on()
            for address in list(cluster.replicas):
                await cluster.restart(address)
                await until_asked_again(cluster, address, service, load)


async def test_envoy(small_bundle: Bundle, tmp_path: Path) -> None:
    """Every Envoy is ended, calls and connections included, and replaced, one after the other: no call fails."""
    with ExitStack() as stack:
        cluster = Cluster(stack, tmp_path, {"encoder": 1, "decoder": 1, "fusion": 1}, small_bundle, envoys=REPLICAS)
        await cluster.until_open()
        load = Load(f"rolling restart of {REPLICAS} x Envoy", cluster.address, (predict, project, register_and_fuse))
        async with load.running():
            for number in range(REPLICAS):
                await load.has_gone_on()
                cluster.stop_envoy(number)
                await load.has_gone_on()
                await cluster.start_envoy(number)
