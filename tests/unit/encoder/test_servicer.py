"""The servicer's stream: how many images of a series are worked on, and what becomes of them when nobody listens."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from hilum.codec.images import EncodingOptions, options_to_message
from hilum.codec.tensors import tensor_to_message
from hilum.digest import image_digest
from hilum.serving.byte_budget import ByteBudget
from hilum.serving.purgeable_memory import PurgeableMemory
from hilum.serving.purging import PurgeFollower, Purging
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import acting_for
from hilum.types import Window
from hilum.v1 import encoder_service_pb2 as pb
from services.encoder.series import ITEMS_IN_FLIGHT
from services.encoder.servicer import EncoderServicer
from tests.unit.encoder.wiring import Backend, encoding

PATIENCE_S = 20
OPTIONS = options_to_message(EncodingOptions(Window(40, 400)))
NO_CONTEXT: Any = None


def item(seed: int) -> pb.EncodeImagesRequest:
    """Returns an item of a series."""
    pixels = np.random.default_rng(seed).integers(-200, 300, (30, 40), dtype=np.int16)
    image = pb.EncodeImageRequest(image_digest=image_digest(pixels), pixels=tensor_to_message(pixels), options=OPTIONS)
    return pb.EncodeImagesRequest(item_id=str(seed), image=image)


class Series:
    """Items that say how many of them were taken."""

    def __init__(self, length: int) -> None:
        self.taken = 0
        self._length = length

    async def __aiter__(self) -> AsyncIterator[pb.EncodeImagesRequest]:
        for seed in range(self._length):
            self.taken += 1
            yield item(seed)


def servicer(core: Any) -> EncoderServicer:
    """Returns a servicer of this core."""
    memory: PurgeableMemory[bytes] = PurgeableMemory(0, len, ttl_s=60)
    purging = Purging(None, PurgeFollower(None, memory, Telemetry("test", stream=io.StringIO())), ())
    limits = {"max_image_pixels": 10**6, "max_message_bytes": 2**26, "max_concurrent_images": 4}
    return EncoderServicer(core, purging, held=ByteBudget(2**30), **limits)


async def test_a_series_is_read_as_fast_as_it_is_encoded() -> None:
    """While nothing ends, no more items are taken from the caller than are worked on: its stream is held back."""
    backend = Backend()
    backend.go.clear()
    series = Series(50)
    async with asyncio.timeout(PATIENCE_S), encoding(backend, running=64, waiting=64) as core:
        with acting_for("a"):
            answers = servicer(core).EncodeImages(aiter(series), NO_CONTEXT)
            first = asyncio.ensure_future(anext(answers))
            while backend.runs < ITEMS_IN_FLIGHT:
                backend.asked.clear()
                await backend.asked.wait()
            assert series.taken <= ITEMS_IN_FLIGHT + 1
            backend.go.set()
            names = {(await first).item_id} | {answer.item_id async for answer in answers}
    assert names == {str(seed) for seed in range(50)}
    assert backend.ended == 50


async def test_a_caller_that_leaves_stops_the_series() -> None:
    """When the answers are no longer wanted, what runs is cancelled and nothing more is taken."""
    backend = Backend()
    series = Series(50)
    async with asyncio.timeout(PATIENCE_S), encoding(backend) as core:
        with acting_for("a"):
            answers: Any = servicer(core).EncodeImages(aiter(series), NO_CONTEXT)
            await anext(answers)
            backend.go.clear()
            await answers.aclose()
            taken = series.taken
        assert taken < 50
        backend.go.set()
    assert backend.ended <= taken


async def test_a_broken_stream_ends_the_call() -> None:
    """An error of the caller's stream itself is the call's error, after which nothing runs."""
    backend = Backend()

    async def broken() -> AsyncIterator[pb.EncodeImagesRequest]:
        yield item(0)
        raise ConnectionResetError

    async with asyncio.timeout(PATIENCE_S), encoding(backend) as core:
        with acting_for("a"), pytest.raises(ConnectionResetError):
            async for _ in servicer(core).EncodeImages(broken(), NO_CONTEXT):
                pass
