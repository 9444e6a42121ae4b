"""Encoding one image: digest, cache, single flight, backend."""

import asyncio
from typing import Any

import numpy as np
import pytest

from hilum.codec.images import EncodingOptions
from hilum.digest import image_digest
from hilum.errors import BackendUnavailable, DigestMismatch, InvalidField, ModelNotFound, Overloaded, PixelsRequired
from hilum.types import Window
from services.encoder.encoding import Encoded, Encoding
from tests.unit.encoder.wiring import SHAPE, Backend, encoding

PATIENCE_S = 20
OPTIONS = EncodingOptions(Window(40, 400))


def picture(seed: int = 0) -> Any:
    """Returns noise (30, 40), int16."""
    return np.random.default_rng(seed).integers(-200, 300, (30, 40), dtype=np.int16)


async def encode(core: Encoding, seed: int = 0, tenant: str = "a", **fields: Any) -> Encoded:
    """Encodes a picture with its own digest."""
    pixels = picture(seed)
    options = EncodingOptions(**{"mapping": Window(40, 400)} | fields)
    return await core.encode(image_digest(pixels), pixels, options, tenant)


async def test_an_image_is_encoded_once() -> None:
    """The second time the embedding comes from the cache, with or without pixels."""
    backend = Backend()
    async with encoding(backend) as core:
        first = await encode(core)
        second = await core.encode(image_digest(picture()), None, OPTIONS, "a")
    assert (first.cache_hit, second.cache_hit, backend.runs) == (False, True, 1)
    assert second.embedding is first.embedding
    assert first.embedding.values.shape == SHAPE
    assert (first.embedding.image_size, first.embedding.input_size) == ((30, 40), (48, 64))
    assert first.timings.backend_ms >= 0
    assert first.timings.total_ms() >= first.timings.backend_ms


async def test_all_who_ask_at_once_share_one_run() -> None:
    """Ten callers with the same image wait for one run of the encoder; nine of them hit."""
    backend = Backend()
    backend.go.clear()
    async with asyncio.timeout(PATIENCE_S), encoding(backend, running=10) as core:
        callers = [asyncio.ensure_future(encode(core)) for _ in range(10)]
        await backend.asked.wait()
        backend.go.set()
        results = await asyncio.gather(*callers)
    assert backend.runs == 1
    assert sorted(result.cache_hit for result in results) == [False] + [True] * 9


async def test_a_caller_that_leaves_stops_its_run() -> None:
    """When nobody waits any more the run is cancelled, its permit is free, and nothing is kept of it."""
    backend = Backend()
    backend.go.clear()
    async with asyncio.timeout(PATIENCE_S), encoding(backend, running=1, waiting=0) as core:
        caller = asyncio.ensure_future(encode(core))
        await backend.asked.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        backend.go.set()
        assert not (await encode(core)).cache_hit
    assert (backend.runs, backend.ended) == (2, 1)


async def test_a_failure_is_not_kept() -> None:
    """A backend that does not answer fails this request; the next one is encoded."""
    backend = Backend()
    backend.fault = BackendUnavailable("away", retry_after_s=1)
    async with encoding(backend) as core:
        with pytest.raises(BackendUnavailable):
            await encode(core)
        assert not (await encode(core)).cache_hit


async def test_pixels_must_have_their_digest() -> None:
    """Pixels with another digest never reach the encoder, and nothing is known afterwards."""
    backend = Backend()
    async with encoding(backend) as core:
        digest = image_digest(picture())
        with pytest.raises(DigestMismatch):
            await core.encode(digest, picture(1), OPTIONS, "a")
        with pytest.raises(PixelsRequired):
            await core.encode(digest, None, OPTIONS, "a")
        with pytest.raises(InvalidField):
            await core.encode(digest[:-1], None, OPTIONS, "a")
    assert backend.runs == 0


async def test_what_is_known_is_known_per_tenant_model_and_options() -> None:
    """Another tenant, model, window, aspect or padding has an embedding of its own."""
    backend = Backend()
    async with encoding(backend) as core:
        changes: list[dict[str, Any]] = [
            {},
            {"tenant": "b"},
            {"model": "other"},
            {"mapping": Window(41, 400)},
            {"pixel_aspect": 2.0},
            {"padding_value": 0.0},
        ]
        ids = {(await encode(core, **change)).embedding.embedding_id for change in changes}
        assert len(ids) == backend.runs == len(changes)
        digests = [image_digest(picture()), image_digest(picture(1))]
        assert await core.missing([*digests, digests[1]], OPTIONS, "a") == [digests[1]]
        assert await core.missing(digests, OPTIONS, "c") == digests
        with pytest.raises(ModelNotFound, match="m, other"):
            await encode(core, model="third")


async def test_without_a_permit_nothing_is_begun() -> None:
    """One image runs, one waits, the third is refused with a delay; cached images need no permit."""
    backend = Backend()
    async with asyncio.timeout(PATIENCE_S), encoding(backend, running=1, waiting=1) as core:
        await encode(core, seed=9)
        backend.go.clear()
        backend.asked.clear()
        first = asyncio.ensure_future(encode(core, seed=1))
        await backend.asked.wait()
        others = {asyncio.ensure_future(encode(core, seed=seed)) for seed in (2, 3)}
        (refused,), waiting = await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        error = refused.exception()
        assert isinstance(error, Overloaded)
        assert error.retry_after_s
        assert (await encode(core, seed=9)).cache_hit
        backend.go.set()
        await asyncio.gather(first, *waiting)
    assert backend.runs == 3


async def test_the_cache_is_bounded() -> None:
    """With room for one embedding the older of two is encoded again: time is lost, never correctness."""
    backend = Backend()
    async with encoding(backend, local_bytes=2 * int(np.prod(SHAPE))) as core:
        first = await encode(core, seed=1)
        await encode(core, seed=2)
        again = await encode(core, seed=1)
    assert not again.cache_hit
    assert np.array_equal(again.embedding.values, first.embedding.values)
    assert backend.runs == 3
