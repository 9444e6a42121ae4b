"""Values and fields that anyone may have written: whole and what they claim to be, or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.codec.masks import mask_from_message
from hilum.digest import image_digest
from hilum.errors import InvalidArgument
from hilum.masks import decode_rle
from hilum.serving.embedding import EmbeddingStore, StoredEmbedding
from hilum.serving.memory_cache import InMemoryCache
from hilum.serving.sealed_value import HEADER_BYTES, CorruptValue, seal, unseal
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantTag
from hilum.v1 import image_pb2
from tests.contract.messages import digest_of
from tests.fuzz.examples import damaged, examples

TAG, KEY = TenantTag("0123456789abcdef"), bytes(range(32))
SEALED = seal("embedding", TAG, KEY, b"payload of a value")


@examples(150)
@given(data=damaged(SEALED) | st.binary(max_size=2 * HEADER_BYTES))
def test_sealed_values(data: bytes) -> None:
    """A value is returned only whole: any damage is noticed."""
    if data == SEALED:
        assert bytes(unseal(data, "embedding", TAG, KEY)) == b"payload of a value"
        return
    with pytest.raises(CorruptValue):
        unseal(data, "embedding", TAG, KEY)


@examples(60)
@given(payload=st.binary(max_size=300), where=st.integers(0, 200), value=st.integers(0, 255), forged=st.booleans())
def test_embeddings_that_others_wrote(payload: bytes, where: int, value: int, forged: bool) -> None:
    """A poisoned cache is a miss or an embedding whose numbers are there, even where its checksum was forged."""
    import asyncio  # noqa: PLC0415

    stored = StoredEmbedding(KEY, np.ones((2, 4, 4), np.float16), (30, 40), (48, 64), "m", "a" * 64)

    async def look() -> None:
        cache = InMemoryCache(1 << 20)
        store = EmbeddingStore(0, cache, Telemetry("test", log_level="error"))
        await store.put(TAG, stored)
        kept = await cache.get(TAG, KEY)
        assert kept is not None
        body = bytearray(kept[HEADER_BYTES:])
        if payload:
            body[where : where + len(payload)] = payload
        else:
            body[where % len(body)] = value
        await cache.put(TAG, KEY, seal("embedding", TAG, KEY, bytes(body)) if forged else kept[:HEADER_BYTES] + body)
        found = await store.get(TAG, KEY)
        assert found is None or found.values.ndim == 3

    asyncio.run(look())


@examples(150)
@given(
    counts=st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 12), max_size=12),
    height=st.sampled_from([0, 1, 4, 60_000, 2**32 - 1]),
    width=st.sampled_from([0, 1, 3, 60_000, 2**32 - 1]),
)
def test_run_lengths(counts: list[int], height: int, width: int) -> None:
    """Run lengths are a mask of the size that they claim, or refused before anything of that size is made."""
    size = image_pb2.ImageSize(height_px=height, width_px=width)
    message = image_pb2.Mask(size=size, coco_rle=image_pb2.CocoRle(counts=counts))
    try:
        mask = mask_from_message(message, "mask", size=None, max_pixels=1000)
    except InvalidArgument:
        return
    assert mask.shape == (height, width)
    assert mask.sum() == sum(counts[1::2])
    assert np.array_equal(mask, decode_rle(counts, (height, width)))


@examples(150)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    dtype=st.sampled_from(["uint8", "uint16", "int16", "float32"]),
    data=st.binary(min_size=100, max_size=100),
    transposed=st.booleans(),
)
def test_digests(shape: tuple[int, int], dtype: str, data: bytes, transposed: bool) -> None:
    """Digests are those of the contract for any bytes, in any layout in memory, and of another shape others."""
    pixels = np.frombuffer(data, dtype, shape[0] * shape[1]).reshape(shape)
    pixels = pixels.T if transposed else pixels
    assert image_digest(pixels) == digest_of(pixels)
    if pixels.shape[0] != pixels.shape[1]:
        assert image_digest(pixels) != image_digest(pixels.reshape(pixels.shape[::-1]))
