"""Serving fakes, or other servicers, in this process."""

import asyncio
from typing import Any

import numpy as np
import pytest

from hilum import AsyncClient, Box, Client, Image, Prompt
from hilum.errors import BackendUnavailable, ModelNotFound
from hilum.testing import FakeDecoder, FakeEncoder, FakeModel, serve_in_process, serve_in_thread
from hilum.v1 import encoder_service_pb2, encoder_service_pb2_grpc

PATIENCE_S = 30
IMAGE = Image(np.arange(64, dtype=np.int16).reshape(8, 8))
Base: Any = encoder_service_pb2_grpc.EncoderServiceServicer


class Own(Base):  # type: ignore[misc]  # Any, so that one method is enough
    """A servicer of a user's own."""

    async def GetCapabilities(self, request: Any, context: Any) -> Any:  # noqa: N802 - the contract's name
        """Lists one model."""
        del request, context
        models = [encoder_service_pb2.ModelInfo(name="own")]
        return encoder_service_pb2.GetCapabilitiesResponse(models=models)


async def test_servers_do_not_share() -> None:
    """Each block has fakes of its own on a port of its own, which nobody serves after it."""
    async with asyncio.timeout(PATIENCE_S), serve_in_process() as first, serve_in_process() as second:
        assert first != second
        async with AsyncClient(first) as one, AsyncClient(second) as other:
            await one.encode(IMAGE)
            assert await other.find_missing([IMAGE]) == [0]
    async with asyncio.timeout(PATIENCE_S), AsyncClient(first) as late:
        with pytest.raises(BackendUnavailable):
            await late.encode(IMAGE)


async def test_a_servicer_of_ones_own() -> None:
    """Any servicer may stand in a fake's place; a fake decoder needs a fake encoder to know its embeddings."""
    async with (
        asyncio.timeout(PATIENCE_S),
        serve_in_process(Own(), FakeDecoder(FakeEncoder())) as endpoints,
        AsyncClient(endpoints) as client,
    ):
        assert [model.name for model in await client.models()] == ["own"]
    with pytest.raises(TypeError, match="pass a decoder"):
        async with serve_in_process(Own()):
            pass


def test_models_may_be_chosen() -> None:
    """The models that a fake pretends are those that its maker names, regions following their side."""
    encoder = FakeEncoder([FakeModel("tiny", image_size_px=64)])
    with serve_in_thread(encoder) as endpoints, Client(endpoints) as client:
        assert client.models()[0].image_size_px == 64
        image = Image(np.zeros((300, 300), np.uint8))
        client.predict(image, [Prompt(box=Box(100, 100, 110, 110))])
        assert client.encode(Image(image.pixels[:64, :64])).model == "tiny"
        with pytest.raises(ModelNotFound):
            client.encode(image, model="fake")


def test_a_block_that_fails_is_left_in_order() -> None:
    """An exception in the block ends the server and arrives unchanged."""
    addresses = []

    def fail() -> None:
        with serve_in_thread() as endpoints:
            addresses.append(endpoints)
            raise LookupError("in the block")

    with pytest.raises(LookupError, match="in the block"):
        fail()
    with Client(addresses[0]) as client, pytest.raises(BackendUnavailable):
        client.encode(IMAGE)
