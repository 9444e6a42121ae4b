"""Endpoints and channels."""

import json

import grpc
import grpc.aio
import numpy as np
import pytest

from hilum import AsyncClient, Image
from hilum.connection import Endpoints, answered, channel_options, open_channel, streamed
from hilum.errors import BackendUnavailable, Overloaded, PixelsRequired
from hilum.testing import FakeEncoder, FakeFusion, serve_in_process
from hilum.v1 import encoder_service_pb2, encoder_service_pb2_grpc, fusion_service_pb2, fusion_service_pb2_grpc

CAPABILITIES = encoder_service_pb2.GetCapabilitiesRequest()


def test_addresses_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that are set are used, the others are those of `python -m services`."""
    for name in ("HILUM_ENCODER", "HILUM_DECODER", "HILUM_FUSION"):
        monkeypatch.delenv(name, raising=False)
    assert Endpoints.from_environment() == Endpoints("127.0.0.1:50051", "127.0.0.1:50052", "127.0.0.1:50053")
    monkeypatch.setenv("HILUM_DECODER", "decoder.example.org:443")
    assert Endpoints.from_environment() == Endpoints(decoder="decoder.example.org:443")


def test_what_reached_nobody_is_tried_again() -> None:
    """The retry policy names the statuses of requests that reached nobody, are asked to come back, or met a drain."""
    options = dict(channel_options())
    (policy,) = json.loads(str(options["grpc.service_config"]))["methodConfig"]
    assert policy["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE", "CANCELLED"]
    assert options["grpc.max_receive_message_length"] == options["grpc.max_send_message_length"] == 64 * 2**20


async def test_a_service_that_comes_back_is_not_noticed() -> None:
    """Three refusals in a row with UNAVAILABLE are behind the caller's back; overload is for the caller to see."""
    encoder = FakeEncoder()
    async with serve_in_process(encoder) as endpoints, open_channel(endpoints.encoder) as channel:
        stub = encoder_service_pb2_grpc.EncoderServiceStub(channel)
        away = BackendUnavailable("away", retry_after_s=0.01)
        encoder.fail_next(away, away, away)
        assert (await answered(stub.GetCapabilities(CAPABILITIES))).models
        encoder.fail_next(away, away, away, away)
        with pytest.raises(BackendUnavailable):
            await answered(stub.GetCapabilities(CAPABILITIES))
        encoder.fail_next(Overloaded("busy", retry_after_s=2))
        with pytest.raises(Overloaded) as caught:
            await answered(stub.GetCapabilities(CAPABILITIES))
        assert caught.value.retry_after_s == 2


async def test_large_requests_are_tried_again_too() -> None:
    """Pixels of several MB that meet a service on its way out are sent again; gRPC by itself keeps 256 KiB for that."""
    encoder = FakeEncoder()
    pixels = np.random.default_rng(0).integers(0, 2**12, (2048, 1024), dtype=np.int16)
    async with serve_in_process(encoder) as endpoints, AsyncClient(endpoints) as client:
        away = BackendUnavailable("away", retry_after_s=0.01)
        encoder.fail_next(PixelsRequired("send pixels"), away, away)
        assert (await client.encode(Image(pixels))).embedding_id


async def test_streams_raise_our_errors() -> None:
    """The error of a stream arrives as an exception of ours, without gRPC's own behind it."""
    fusion = FakeFusion()
    async with serve_in_process(fusion=fusion) as endpoints, open_channel(endpoints.fusion) as channel:
        fusion.fail_next(Overloaded("busy", retry_after_s=3))
        stub = fusion_service_pb2_grpc.FusionServiceStub(channel)
        with pytest.raises(Overloaded) as caught:
            await anext(streamed(stub.RegisterImages(fusion_service_pb2.RegisterImagesRequest())))
    assert caught.value.__suppress_context__


async def test_nobody_there() -> None:
    """A service that is not there is BackendUnavailable, whoever says so."""
    async with open_channel("127.0.0.1:1") as channel:
        stub = encoder_service_pb2_grpc.EncoderServiceStub(channel)
        with pytest.raises(BackendUnavailable):
            await answered(stub.GetCapabilities(CAPABILITIES, timeout=20))
    assert isinstance(channel, grpc.aio.Channel)
