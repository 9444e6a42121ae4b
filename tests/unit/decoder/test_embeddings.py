"""Where the decoder finds embeddings: its memory, the shared cache, the encoder."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from hilum.connection import open_channel
from hilum.errors import BackendUnavailable, EmbeddingNotFound, ModelMismatch, Overloaded
from hilum.serving.embedding import EmbeddingStore, StoredEmbedding
from hilum.serving.memory_cache import InMemoryCache
from hilum.serving.overload import ComputePool
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag
from hilum.testing import FakeEncoder, serve_in_process
from hilum.v1.encoder_service_pb2_grpc import EncoderServiceStub
from services.decoder.embeddings import EncoderSource, HotImages, Origin
from tests.contract.messages import encode_image, picture
from tests.unit.decoder.wiring import REVISION, SHAPE, Drawing, model

PATIENCE_S = 20
TENANT = (("x-hilum-tenant", "a"),)


def stored(number: int = 0, revision: str = REVISION) -> StoredEmbedding:
    """Returns an embedding."""
    values = np.full(SHAPE, number, np.float16)
    return StoredEmbedding(bytes([number]) * 32, values, (30, 40), (48, 64), "m", revision)


class Encoder:
    """In the place of EncoderSource: knows some embeddings, counts questions, can be held."""

    def __init__(self, *known: StoredEmbedding) -> None:
        self._known = {embedding.embedding_id: embedding for embedding in known}
        self.asked: list[tuple[bytes, str]] = []
        self.was_asked = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def get(self, identity: bytes, tenant: str) -> StoredEmbedding | None:
        """Answers tenant "a" only."""
        self.asked.append((identity, tenant))
        self.was_asked.set()
        await self.go.wait()
        return self._known.get(identity) if tenant == "a" else None


class Rig:
    """HotImages around a drawing decoder, a cache and an encoder."""

    def __init__(self, encoder: Encoder, pool: ComputePool, max_bytes: int) -> None:
        telemetry = Telemetry("decoder")
        self.cache = InMemoryCache(1 << 20)
        self.decoder = Drawing()
        drawing = model(self.decoder)
        self.images = HotImages(
            {REVISION: drawing},
            store=EmbeddingStore(0, self.cache, telemetry),
            source=encoder,
            pool=pool,
            max_bytes=max_bytes,
        )


@asynccontextmanager
async def rig(encoder: Encoder, max_bytes: int = 1 << 20) -> AsyncIterator[Rig]:
    """Runs a rig."""
    pool = ComputePool(2, 16)
    async with asyncio.timeout(PATIENCE_S):
        yield Rig(encoder, pool, max_bytes)
    await pool.close()


async def test_memory_then_cache_then_encoder() -> None:
    """The shared cache is asked before the encoder, and neither is asked again for what is in memory."""
    encoder = Encoder(stored(1), stored(2))
    async with rig(encoder) as decoder:
        await decoder.cache.put(tenant_tag("a"), stored(1).embedding_id, stored(1).encode(tenant_tag("a")))
        origins = [(await decoder.images.get(stored(number).embedding_id, "a"))[1] for number in (1, 2, 1, 2)]
    assert origins == [Origin.CACHE, Origin.ENCODER, Origin.MEMORY, Origin.MEMORY]
    assert encoder.asked == [(stored(2).embedding_id, "a")]
    assert decoder.decoder.prepared == 2


async def test_what_is_prepared() -> None:
    """The image side is prepared from the embedding in single precision, with its sizes."""
    async with rig(Encoder(stored(3))) as decoder:
        hot, _ = await decoder.images.get(stored(3).embedding_id, "a")
    prepared = hot.prepared.tensors["image"]
    assert prepared.shape == (1, *SHAPE)
    assert prepared.dtype == np.float32
    assert (prepared == 3).all()
    assert (hot.image_size, hot.input_size) == ((30, 40), (48, 64))


async def test_all_who_ask_at_once_share_one_answer() -> None:
    """Ten callers with one unknown embedding lead to one question and one preparation."""
    encoder = Encoder(stored(1))
    encoder.go.clear()
    async with rig(encoder) as decoder:
        callers = [asyncio.ensure_future(decoder.images.get(stored(1).embedding_id, "a")) for _ in range(10)]
        await encoder.was_asked.wait()
        encoder.go.set()
        results = await asyncio.gather(*callers)
    assert len({id(hot) for hot, _ in results}) == 1
    assert (len(encoder.asked), decoder.decoder.prepared) == (1, 1)


async def test_memory_is_bounded() -> None:
    """With room for two images the one used longest ago is forgotten, and asked for again."""
    encoder = Encoder(*(stored(number) for number in range(3)))
    one = 4 * int(np.prod(SHAPE))
    async with rig(encoder, max_bytes=2 * one) as decoder:
        for number in (0, 1, 0, 2, 0, 1):
            await decoder.images.get(stored(number).embedding_id, "a")
    assert [identity[0] for identity, _ in encoder.asked] == [0, 1, 2, 1]


async def test_a_tenant_is_not_another() -> None:
    """An image that is hot for one tenant is not found for another."""
    encoder = Encoder(stored(1))
    async with rig(encoder) as decoder:
        await decoder.images.get(stored(1).embedding_id, "a")
        with pytest.raises(EmbeddingNotFound):
            await decoder.images.get(stored(1).embedding_id, "b")
    assert [tenant for _, tenant in encoder.asked] == ["a", "b"]


async def test_another_encoders_embedding_is_refused() -> None:
    """An embedding of an encoder that no decoder here belongs to, or of another shape, is refused and not kept."""
    encoder = Encoder(stored(1, revision="b" * 64))
    async with rig(encoder) as decoder:
        for _ in range(2):
            with pytest.raises(ModelMismatch):
                await decoder.images.get(stored(1).embedding_id, "a")
        for values, input_size in ((np.zeros((2, 4, 5), np.float16), (48, 64)), (stored().values, (48, 63))):
            with pytest.raises(ModelMismatch, match="longest side is 64"):
                await decoder.images.prepare(
                    values, encoder_revision=REVISION, image_size=(30, 40), input_size=input_size
                )
    assert decoder.decoder.prepared == 0


async def _encoded(encoder: FakeEncoder) -> bytes:
    """Makes a fake encoder know a picture; returns its id."""
    async with serve_in_process(encoder) as endpoints, open_channel(endpoints.encoder) as channel:
        response = await EncoderServiceStub(channel).EncodeImage(encode_image(picture()), metadata=TENANT)
    return response.embedding_id


async def test_encoders_are_asked_in_turn(tmp_path: Path) -> None:
    """Replicas that are away, or do not know the embedding, are passed over for one that does; tenants are kept."""
    knowing, ignorant = FakeEncoder(), FakeEncoder()
    identity = await _encoded(knowing)
    async with (
        asyncio.timeout(PATIENCE_S),
        serve_in_process(ignorant) as first,
        serve_in_process(knowing) as second,
        open_channel(f"unix:{tmp_path}/nobody") as away,
        open_channel(first.encoder) as without,
        open_channel(second.encoder) as channel,
    ):
        source = EncoderSource([away, without, channel], timeout_s=5)
        embedding = await source.get(identity, "a")
        assert embedding is not None
        assert (embedding.embedding_id, embedding.image_size) == (identity, picture().shape)
        assert await source.get(identity, "b") is None
        assert await source.get(b"x" * 32, "a") is None


async def test_no_answer_is_not_an_answer(tmp_path: Path) -> None:
    """Only encoders that answered count: where none did, the embedding is not "not found", but unavailable for now."""
    encoder = FakeEncoder()
    async with (
        asyncio.timeout(PATIENCE_S),
        serve_in_process(encoder) as endpoints,
        open_channel(f"unix:{tmp_path}/nobody") as away,
        open_channel(endpoints.encoder) as channel,
    ):
        with pytest.raises(BackendUnavailable) as caught:
            await EncoderSource([away], timeout_s=5).get(b"x" * 32, "a")
        assert caught.value.retry_after_s
        encoder.fail_next(Overloaded("busy", retry_after_s=1))
        with pytest.raises(BackendUnavailable):
            await EncoderSource([channel], timeout_s=5).get(b"x" * 32, "a")
