"""The services under more than they can do: who is refused, who goes first, and what callers that leave hold."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from hilum import AsyncClient, Endpoints, Image, Window
from hilum.connection import channel_options, open_channel
from hilum.errors import DeadlineExceeded, Overloaded, from_rpc_error
from hilum.serving.bundle import Bundle
from hilum.serving.server import Server
from hilum.serving.telemetry import Telemetry
from hilum.testing import FakeDecoder, FakeEncoder, serve_in_process
from hilum.testing.fake import Context
from hilum.types import Box, Prompt
from hilum.v1 import decoder_service_pb2, encoder_service_pb2
from hilum.v1 import fusion_service_pb2 as pb
from hilum.v1.decoder_service_pb2_grpc import DecoderServiceStub
from hilum.v1.encoder_service_pb2_grpc import EncoderServiceStub
from hilum.v1.fusion_service_pb2_grpc import FusionServiceStub
from services.decoder.__main__ import decoder_server
from services.decoder.settings import DecoderSettings
from services.encoder.__main__ import encoder_server
from services.encoder.settings import EncoderSettings
from services.fusion.__main__ import fusion_server
from services.fusion.settings import FusionSettings
from tests.contract.fusing import FIXED_CENTRE, MOVING_CENTRE, fusing, pair, projecting, registering
from tests.contract.messages import box, encode_image, picture, predict_masks
from tests.contract.volumes import registering_volumes
from tests.contract.wiring import running

PATIENCE_S = 60
COMMON: dict[str, Any] = {
    "port": 0,
    "redis_url": None,
    "metrics_port": None,
    "drain_s": 0,
    "compute_threads": 1,
    "running_permits": 2,
    "waiting_permits": 4,
}


class Watched(Telemetry):
    """Says when permits or bytes in use change."""

    def __init__(self, service: str, changed: asyncio.Event) -> None:
        super().__init__(service, stream=io.StringIO())
        self._changed = changed

    def permits(self, pool: str, *, running: int, waiting: int) -> None:
        """As Telemetry."""
        super().permits(pool, running=running, waiting=waiting)
        self._changed.set()

    def held_bytes(self, size_bytes: int) -> None:
        """As Telemetry."""
        super().held_bytes(size_bytes)
        self._changed.set()


class Rig:
    """The three services, what they say of themselves, and stubs."""

    def __init__(self, bundle: Bundle, **settings: Any) -> None:
        self.bundle = bundle
        self.settings = COMMON | settings
        self.changed = asyncio.Event()
        self.telemetry = {name: Watched(name, self.changed) for name in ("encoder", "decoder", "fusion")}
        self.stubs: list[Any] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["Rig"]:
        """Runs all three."""
        async with contextlib.AsyncExitStack() as stack:

            async def start(server: Server) -> str:
                return await stack.enter_async_context(running(server))

            bundles, said = [self.bundle], self.telemetry
            encoder = await start(encoder_server(EncoderSettings(**self.settings), bundles, said["encoder"]))
            settings = DecoderSettings(**self.settings, encoders=(encoder,))
            decoder = await start(decoder_server(settings, bundles, said["decoder"]))
            fusion = await start(
                fusion_server(FusionSettings(**self.settings, encoder=encoder, decoder=decoder), said["fusion"])
            )
            self.endpoints = Endpoints(encoder, decoder, fusion)
            options = [option for option in channel_options() if "service_config" not in option[0]]
            for address, stub in (
                (encoder, EncoderServiceStub),
                (decoder, DecoderServiceStub),
                (fusion, FusionServiceStub),
            ):
                channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options))
                self.stubs.append(stub(channel))
            yield self

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Calls a method of one of the services by name."""
        stub = next(stub for stub in self.stubs if hasattr(stub, method))
        return getattr(stub, method)(*arguments, **options)

    def in_use(self) -> float:
        """Permits in use and callers waiting, pools of threads included, and bytes held, of all services."""
        pools = ("predict", "generate", "encode", "fusion", "compute")
        return sum(
            telemetry.value("hilum_permits", pool=pool, state=state)
            for telemetry in self.telemetry.values()
            for pool in pools
            for state in ("running", "waiting")
        ) + sum(telemetry.value("hilum_held_bytes") for telemetry in self.telemetry.values())

    async def until(self, holds: Callable[[], bool]) -> None:
        """Returns when something holds that depends on permits and bytes in use."""
        while not holds():
            self.changed.clear()
            await self.changed.wait()

    async def until_idle(self) -> None:
        """Returns when nothing is in use any more."""
        await self.until(lambda: not self.in_use())

    async def until_busy(self) -> None:
        """Returns when something is in use."""
        await self.until(lambda: bool(self.in_use()))


@pytest.fixture
async def rig(sam_bundle: Bundle) -> AsyncIterator[Rig]:
    """Services with little room."""
    async with asyncio.timeout(PATIENCE_S), Rig(sam_bundle, stall_s=1.0).serving() as rig:
        yield rig


async def embedding_id(rig: Rig) -> bytes:
    """Returns the id of an image that the encoder knows."""
    identity: bytes = (await rig.call("EncodeImage", encode_image(picture()))).embedding_id
    return identity


def series(count: int, size: tuple[int, int] = (200, 240)) -> Iterator[encoder_service_pb2.EncodeImagesRequest]:
    """Yields images that nobody knows."""
    for seed in range(1000, 1000 + count):
        yield encoder_service_pb2.EncodeImagesRequest(item_id=str(seed), image=encode_image(picture(seed, size)))


VOXELS = np.random.default_rng(0).integers(-100, 100, (200, 200, 200), dtype=np.int16)


def _started(rig: Rig, method: str, identity: bytes) -> Any:
    """Begins a call that takes a while."""
    requests: dict[str, Callable[[], Any]] = {
        "EncodeImage": lambda: encode_image(picture(99, (900, 900))),
        "EncodeImages": lambda: series(40),
        "PredictMasks": lambda: predict_masks(identity, *[box(20, 15, 60, 45)] * 48),
        "GenerateMasks": lambda: decoder_service_pb2.GenerateMasksRequest(
            embedding_id=identity, points_per_side=6, points_per_batch=12
        ),
        "ProjectVolume": lambda: projecting(VOXELS),
        "RegisterImages": registering,
        "RegisterVolumes": lambda: registering_volumes(transform_model=pb.TRANSFORM_MODEL_DEFORMABLE),
        "FuseImages": fusing,
    }
    return rig.call(method, requests[method]())


METHODS = (
    "EncodeImage",
    "EncodeImages",
    "PredictMasks",
    "GenerateMasks",
    "ProjectVolume",
    "RegisterImages",
    "RegisterVolumes",
    "FuseImages",
)


@pytest.mark.parametrize("method", METHODS)
async def test_a_caller_that_leaves_leaves_nothing(rig: Rig, method: str) -> None:
    """When callers cancel, running and waiting, all permits, threads and bytes are free again within moments."""
    identity = await embedding_id(rig)
    await rig.until_idle()
    calls = [_started(rig, method, identity) for _ in range(4)]
    reading = [asyncio.ensure_future(_all_of(call)) for call in calls]
    await rig.until_busy()
    for call in calls:
        call.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    await rig.until_idle()


async def _all_of(call: Any) -> None:
    if isinstance(call, grpc.aio.StreamStreamCall | grpc.aio.UnaryStreamCall):
        async for _ in call:
            pass
    else:
        await call


@pytest.mark.parametrize("method", ["PredictMasks", "GenerateMasks", "RegisterImages"])
async def test_more_than_fits_is_refused_with_a_delay(rig: Rig, method: str) -> None:
    """Of many calls at once some are answered and the others refused with OVERLOADED, a delay and gRPC's push-back."""
    identity = await embedding_id(rig)
    calls = [_started(rig, method, identity) for _ in range(10)]
    outcomes = await asyncio.gather(*map(_all_of, calls), return_exceptions=True)
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert 0 < len(refused) < len(calls)
    for error in refused:
        assert isinstance(error, grpc.aio.AioRpcError)
        domain = from_rpc_error(error)
        assert isinstance(domain, Overloaded)
        assert domain.retry_after_s is not None
        assert int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) == round(domain.retry_after_s * 1000)


async def test_the_client_comes_back_when_told(rig: Rig) -> None:
    """More calls at once than fit all succeed with the SDK, which comes back when the service says."""
    async with AsyncClient(rig.endpoints, attempts=50) as client:
        image = Image(picture())
        prompts = [Prompt(box=Box(20, 15, 60, 45))] * 16
        await client.models()
        tasks = [client.predict(image, prompts, mapping=Window(60, 160), region=None) for _ in range(12)]
        for prediction in await asyncio.gather(*tasks):
            assert len(prediction.masks) == 16
    assert rig.telemetry["decoder"].value(
        "hilum_rpcs_total",
        method="/hilum.v1.DecoderService/PredictMasks",
        code="RESOURCE_EXHAUSTED",
        reason="OVERLOADED",
    )


async def test_a_study_does_not_keep_a_click_waiting(rig: Rig) -> None:
    """While a series is encoded, an image that somebody waits for is encoded before the series' next ones."""
    stream = rig.call("EncodeImages", series(24))
    done = 0

    async def read() -> None:
        nonlocal done
        async for answer in stream:
            assert answer.WhichOneof("result") == "encoded"
            done += 1

    reading = asyncio.create_task(read())
    await rig.until_busy()
    before = done
    await rig.call("EncodeImage", encode_image(picture(7)))
    # The ones that ran when the click came, and what ends while its answer travels.
    assert done - before <= 3
    await reading
    assert done == 24


async def test_a_series_waits_for_room(sam_bundle: Bundle) -> None:
    """A series larger than the bytes that may be held is encoded in turn: nothing is refused, nothing beyond held."""
    async with asyncio.timeout(PATIENCE_S), Rig(sam_bundle, max_held_bytes=2**20).serving() as rig:
        answers = [answer async for answer in rig.call("EncodeImages", series(16, (512, 512)))]
        assert [answer.WhichOneof("result") for answer in answers] == ["encoded"] * 16
        await rig.until_idle()


@pytest.mark.parametrize("method", ["GenerateMasks", "RegisterImages"])
async def test_who_does_not_read_holds_no_permit(rig: Rig, method: str) -> None:
    """Calls whose callers never read finish their work and free their permits; others go on."""
    identity = await embedding_id(rig)
    await rig.until_idle()
    unread = [_started(rig, method, identity) for _ in range(2)]
    await rig.until_busy()
    await rig.until_idle()
    for call in unread:
        call.cancel()


async def test_a_volume_that_never_comes_holds_nothing(rig: Rig) -> None:
    """Who describes a volume and sends none takes no permit, and its room is free once it was waited for."""
    describing, *_ = projecting(VOXELS)
    call = rig.call("ProjectVolume")
    await call.write(describing)
    await rig.until_busy()
    assert rig.telemetry["fusion"].value("hilum_held_bytes") == VOXELS.nbytes
    assert rig.telemetry["fusion"].value("hilum_permits", pool="fusion", state="running") == 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert isinstance(from_rpc_error(caught.value), DeadlineExceeded)
    await rig.until_idle()


class Asked(FakeEncoder):
    """Notes how long its callers would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.remaining_s: list[float] = []

    async def EncodeImage(self, request: Any, context: Context) -> Any:  # noqa: N802 - the contract's name
        """As FakeEncoder."""
        self.remaining_s.append(context.time_remaining())
        return await super().EncodeImage(request, context)


async def test_the_deadline_goes_with_the_work() -> None:
    """Encoder and decoder are asked with what is left of the caller's time, not with fusion's own patience."""
    encoder = Asked()
    async with asyncio.timeout(PATIENCE_S), serve_in_process(encoder, FakeDecoder(encoder)) as where:
        settings = FusionSettings(**COMMON, encoder=where.encoder, decoder=where.decoder, segmentation_timeout_s=3600)
        server = fusion_server(settings, Telemetry("fusion", stream=io.StringIO()))
        async with running(server) as address, open_channel(address) as channel:
            stub: Any = FusionServiceStub(channel)
            around = [
                box(*(c - 20 for c in centre), *(c + 20 for c in centre)) for centre in (FIXED_CENTRE, MOVING_CENTRE)
            ]
            call = stub.RegisterImages(registering(targets=[pair(*around)]), timeout=50)
            events = [event async for event in call]
    assert isinstance(events[-1], pb.RegisterImagesResponse)
    assert encoder.remaining_s
    assert max(encoder.remaining_s) < 51  # gRPC rounds deadlines up on the wire
