"""Reasons that need a service in trouble, and that no reason of the contract is without a test."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from numpy.typing import NDArray

from hilum import errors
from hilum.connection import TENANT_KEY, Endpoints
from hilum.serving.bundle import Bundle
from hilum.serving.embedding import EmbeddingStore
from hilum.serving.memory_cache import InMemoryCache
from hilum.serving.overload import ComputePool, Permits
from hilum.serving.purging import PurgeFollower, Purging
from hilum.serving.server import Server
from hilum.serving.single_flight import SingleFlight
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantKeys
from hilum.testing import FakeDecoder, FakeEncoder, serve_in_process
from hilum.v1.decoder_service_pb2_grpc import DecoderServiceStub
from hilum.v1.encoder_service_pb2_grpc import EncoderServiceStub, add_EncoderServiceServicer_to_server
from hilum.v1.fusion_service_pb2_grpc import FusionServiceStub
from services.decoder.__main__ import decoder_server
from services.decoder.settings import DecoderSettings
from services.encoder.encoding import Encoding, ServedModel
from services.encoder.preprocess import ModelInput
from services.encoder.servicer import EncoderServicer
from services.encoder.settings import EncoderSettings
from services.fusion.__main__ import fusion_server
from services.fusion.settings import FusionSettings
from tests.contract import test_access, test_decoder_refusals, test_encoder, test_fusion_refusals
from tests.contract.fusing import pair, registering
from tests.contract.messages import box, encode_image, picture, predict_masks
from tests.contract.refusals import Refusal, reasons, refusal_in
from tests.contract.wiring import box_only, real_services, running

PATIENCE_S = 30
INSIDE = "a secret of the server"
METADATA = ((TENANT_KEY, "st-mary"),)
IN_TROUBLE: dict[str, Callable[..., Any]] = {}


def proves(reason: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a test as the one that shows this reason."""

    def register(test: Callable[..., Any]) -> Callable[..., Any]:
        IN_TROUBLE[reason] = test
        return test

    return register


class HeldEncoder:
    """An ImageEncoder that says when it was asked, and waits to be told what to do.

    Attributes:
        asked: Set when an image has arrived.
        cancelled: Set when the work was cancelled.
        release: Set by the test to let it go on.
        fault: Raised then, where there is one.
    """

    name = "held"
    compute_precision = "float32"

    def __init__(self, embedding_shape: tuple[int, ...]) -> None:
        self._shape = embedding_shape
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.fault: Exception | None = None

    async def encode(self, image: ModelInput) -> NDArray[np.float16]:
        """Waits; then returns zeros or raises the fault."""
        del image
        self.asked.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.fault is not None:
            raise self.fault
        return np.zeros(self._shape, np.float16)

    async def ready(self) -> bool:
        """Says True."""
        return True

    async def close(self) -> None:
        """Does nothing."""


class Rig:
    """An encoder service with a HeldEncoder and one permit, a stub for it, and its log."""

    stub: Any

    def __init__(self, bundle: Bundle) -> None:
        self.held = HeldEncoder(bundle.manifest.embedding_shape)
        self.log = io.StringIO()
        telemetry = Telemetry("encoder", stream=self.log)
        self.pool = ComputePool(1, 4)
        store = EmbeddingStore(1 << 20, InMemoryCache(0), telemetry)
        encoding = Encoding(
            {bundle.manifest.name: ServedModel(bundle, self.held)},
            store=store,
            flight=SingleFlight(),
            permits=Permits(1, 0),
            pool=self.pool,
            keys=TenantKeys(bytes(16)),
            telemetry=telemetry,
        )
        settings = EncoderSettings(port=0, redis_url=None, metrics_port=None, drain_s=0)
        self.server = Server(settings, telemetry)
        purging = Purging(None, PurgeFollower(None, store.memory, telemetry), ())
        limits = {"max_image_pixels": 10**6, "max_message_bytes": 2**26, "max_concurrent_images": 1}
        servicer = EncoderServicer(encoding, purging, held=self.server.held, **limits)
        self.server.add("hilum.v1.EncoderService", add_EncoderServiceServicer_to_server, servicer)
        self.server.resources.push_async_callback(self.pool.close)

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Returns the log lines of one event."""
        lines = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]


@pytest.fixture
async def rig(sam_bundle: Bundle) -> AsyncIterator[Rig]:
    """A running rig, which no test can hang."""
    rig = Rig(sam_bundle)
    async with (
        asyncio.timeout(PATIENCE_S),
        running(rig.server) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        rig.stub = EncoderServiceStub(channel)
        yield rig


async def refused(call: Awaitable[Any]) -> Refusal:
    """Awaits a call that must be refused, and returns how it was."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal_in(caught.value)


@proves("OVERLOADED")
async def test_without_a_permit_the_caller_is_told_when_to_come_back(rig: Rig) -> None:
    """While the only permit is taken, another image is refused at once, with a delay; afterwards it is encoded."""
    first = asyncio.ensure_future(rig.stub.EncodeImage(encode_image(picture(seed=1))))
    await rig.held.asked.wait()
    second = encode_image(picture(seed=2))
    refusal = await refused(rig.stub.EncodeImage(second))
    assert refusal.reason == "OVERLOADED"
    assert refusal.retry_after_s is not None
    assert refusal.retry_after_s > 0
    rig.held.release.set()
    assert (await first).embedding_id
    assert (await rig.stub.EncodeImage(second)).embedding_id


@proves("DEADLINE_EXCEEDED")
async def test_the_deadline_stops_the_work(rig: Rig) -> None:
    """When the caller's deadline passes, the work is cancelled, the caller hears so, and the log has the reason."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.stub.EncodeImage(encode_image(picture()), timeout=0.5)
    # The caller's own gRPC ends the call: there is no service left to add details.
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert isinstance(errors.from_rpc_error(caught.value), errors.DeadlineExceeded)
    await rig.held.cancelled.wait()
    await rig.server.stop()
    (line,) = rig.lines("rpc")
    assert (line["code"], line["reason"]) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


@proves("INTERNAL")
async def test_a_fault_keeps_its_insides(rig: Rig) -> None:
    """What nobody foresaw is INTERNAL with a request id; what happened stands in the log only."""
    rig.held.fault = RuntimeError(INSIDE)
    rig.held.release.set()
    refusal = await refused(rig.stub.EncodeImage(encode_image(picture())))
    assert refusal.reason == "INTERNAL"
    assert INSIDE not in refusal.message
    (fault,) = rig.lines("server_fault")
    assert INSIDE in fault["exception"]
    assert fault["request_id"] in refusal.message


@proves("BACKEND_UNAVAILABLE")
async def test_nobody_to_ask_for_an_embedding(sam_bundle: Bundle, tmp_path: Path) -> None:
    """A decoder whose caches do not have an embedding, and whose encoder does not answer, says to try again."""
    settings = DecoderSettings(
        port=0,
        models=(sam_bundle.manifest.name,),
        encoders=(f"unix:{tmp_path}/nobody",),
        encoder_timeout_s=1,
        redis_url=None,
        metrics_port=None,
        drain_s=0,
    )
    server = decoder_server(settings, [sam_bundle], Telemetry("decoder", stream=io.StringIO()))
    async with (
        asyncio.timeout(PATIENCE_S),
        running(server) as address,
        grpc.aio.insecure_channel(address, options=[("grpc.enable_retries", 0)]) as channel,
    ):
        refusal = await refused(DecoderServiceStub(channel).PredictMasks(predict_masks(b"x" * 32, box(1, 1, 9, 9))))
    assert refusal.reason == "BACKEND_UNAVAILABLE"
    assert refusal.retry_after_s == 1


async def test_nobody_to_segment_a_target(tmp_path: Path) -> None:
    """Fusion whose encoder does not answer says to try again, in its own words and without addresses."""
    nobody = f"unix:{tmp_path}/nobody"
    settings = FusionSettings(
        port=0, encoder=nobody, decoder=nobody, redis_url=None, metrics_port=None, drain_s=0, segmentation_timeout_s=5
    )
    server = fusion_server(settings, Telemetry("fusion", stream=io.StringIO()))
    async with (
        asyncio.timeout(PATIENCE_S),
        running(server) as address,
        grpc.aio.insecure_channel(address, options=[("grpc.enable_retries", 0)]) as channel,
    ):
        request = registering(targets=[pair(box(20, 22, 38, 44), box(26, 18, 44, 40))])
        refusal = await refused(_all(FusionServiceStub(channel).RegisterImages(request)))
    assert refusal.reason == "BACKEND_UNAVAILABLE"
    assert "nobody" not in refusal.message


async def _all(stream: Any) -> list[Any]:
    return [message async for message in stream]


@proves("MODEL_MISMATCH")
async def test_an_embedding_of_a_model_that_is_not_decoded(sam_bundle: Bundle) -> None:
    """An embedding of a model that the encoder serves and the decoder does not is refused, not decoded wrongly."""
    other = box_only(sam_bundle)
    async with asyncio.timeout(PATIENCE_S), real_services([sam_bundle, other], decoder_models=[sam_bundle]) as where:
        async with grpc.aio.insecure_channel(where.encoder) as channel:
            request = encode_image(picture(), model=other.manifest.name)
            encoded = await EncoderServiceStub(channel).EncodeImage(request, metadata=METADATA)
        async with grpc.aio.insecure_channel(where.decoder) as channel:
            call = DecoderServiceStub(channel).PredictMasks(
                predict_masks(encoded.embedding_id, box(1, 1, 9, 9)), metadata=METADATA
            )
            assert (await refused(call)).reason == "MODEL_MISMATCH"


@pytest.fixture
async def fakes() -> AsyncIterator[tuple[FakeEncoder, FakeDecoder, Endpoints]]:
    """The fakes, and where they are served."""
    encoder = FakeEncoder()
    decoder = FakeDecoder(encoder)
    async with asyncio.timeout(PATIENCE_S), serve_in_process(encoder, decoder) as endpoints:
        yield encoder, decoder, endpoints


@pytest.mark.parametrize("reason", sorted(errors.BY_REASON))
async def test_fakes_fail_when_told_to(fakes: tuple[FakeEncoder, FakeDecoder, Endpoints], reason: str) -> None:
    """A fake that was told to fail does so once, as a service in that trouble would, and then answers again."""
    encoder, decoder, endpoints = fakes
    raised = errors.BY_REASON[reason](
        "as the test wished", retry_after_s=2.5 if reason in {"OVERLOADED", "BACKEND_UNAVAILABLE"} else None
    )
    encoder.fail_next(raised)
    decoder.fail_next(raised)
    async with grpc.aio.insecure_channel(endpoints.encoder, options=[("grpc.enable_retries", 0)]) as channel:
        ask_encoder, ask_decoder = EncoderServiceStub(channel), DecoderServiceStub(channel)
        request = encode_image(picture())
        assert (await refused(ask_encoder.EncodeImage(request))).reason == reason
        prompting = predict_masks((await ask_encoder.EncodeImage(request)).embedding_id, box(1, 1, 9, 9))
        assert (await refused(ask_decoder.PredictMasks(prompting))).reason == reason
        assert (await ask_decoder.PredictMasks(prompting)).results


def test_every_reason_is_shown() -> None:
    """Each reason of the contract is raised by a request in these tests, and no test expects one that is not in it."""
    tables = (test_encoder.REFUSALS, test_decoder_refusals.REFUSALS, test_fusion_refusals.REFUSALS)
    shown = {case.reason for table in tables for case in table} | set(IN_TROUBLE) | test_access.REFUSED
    assert shown == reasons()


def test_every_reason_has_one_exception() -> None:
    """The library has one exception for every reason, with the code that the contract gives it."""
    assert set(errors.BY_REASON) == reasons()
    assert errors.reason_names() == reasons()
