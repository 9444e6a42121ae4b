import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hilum.serving.embedding import EmbeddingStore, StoredEmbedding
from hilum.serving.memory_cache import InMemoryCache
from hilum.serving.sealed_value import CorruptValue, seal
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag

A, B = tenant_tag("a"), tenant_tag("b")
ID = bytes(range(32))
SIZES = st.tuples(st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))


def _embedding(**changes: Any) -> StoredEmbedding:
    values = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    embedding = StoredEmbedding(ID, values, (512, 133), (256, 67), "lite-medsam", "ab" * 32)
    return dataclasses.replace(embedding, **changes)


@given(
    values=npst.arrays(np.float16, npst.array_shapes(min_dims=3, max_dims=3)),
    image_size=SIZES,
    input_size=SIZES,
    model=st.text(min_size=1, max_size=16).filter(lambda name: "\0" not in name),
    key=st.binary(min_size=32, max_size=32),
)
def test_embeddings_come_back_bit_for_bit(
    values: Any, image_size: tuple[int, int], input_size: tuple[int, int], model: str, key: bytes
) -> None:
    """Every field comes back, values to the last bit, infinities and NaN included."""
    embedding = StoredEmbedding(key, values, image_size, input_size, model, "0f" * 32)
    back = StoredEmbedding.decode(embedding.encode(A), tenant=A, embedding_id=key)
    assert back.values.tobytes() == values.tobytes()
    assert back.values.shape == values.shape
    for name in ("embedding_id", "image_size", "input_size", "model", "encoder_revision"):
        assert getattr(back, name) == getattr(embedding, name)


def test_values_are_a_read_only_view() -> None:
    """Decoding copies nothing, and nobody can write to what others share."""
    back = StoredEmbedding.decode(_embedding().encode(A), tenant=A, embedding_id=ID)
    assert not back.values.flags.owndata
    assert not back.values.flags.writeable


def test_values_in_any_memory_order_are_stored_row_major() -> None:
    """A transposed array is stored by its indices, not by its memory."""
    values = np.arange(24, dtype=np.float16).reshape(4, 3, 2).T
    back = StoredEmbedding.decode(_embedding(values=values).encode(A), tenant=A, embedding_id=ID)
    np.testing.assert_array_equal(back.values, values)


@given(st.data())
def test_any_flipped_bit_is_found(data: st.DataObject) -> None:
    """A flipped bit anywhere makes the value corrupt, never a different embedding."""
    value = bytearray(_embedding().encode(A))
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptValue):
        StoredEmbedding.decode(bytes(value), tenant=A, embedding_id=ID)


@given(st.data())
def test_any_truncation_is_found(data: st.DataObject) -> None:
    """A value that was cut short anywhere is corrupt."""
    value = _embedding().encode(A)
    with pytest.raises(CorruptValue):
        StoredEmbedding.decode(value[: data.draw(st.integers(0, len(value) - 1))], tenant=A, embedding_id=ID)


def test_another_tenants_value_is_corrupt() -> None:
    """A value that was written for another tenant does not decode, even under the right id."""
    with pytest.raises(CorruptValue):
        StoredEmbedding.decode(_embedding().encode(A), tenant=B, embedding_id=ID)


@given(st.binary(max_size=400))
def test_whole_envelopes_with_wrong_fields_are_corrupt(payload: bytes) -> None:
    """A sealed value whose fields are nonsense is corrupt, not a crash."""
    with pytest.raises(CorruptValue):
        StoredEmbedding.decode(seal("embedding", A, ID, payload), tenant=A, embedding_id=ID)


def test_shape_and_length_must_agree() -> None:
    """A sealed value whose shape asks for other bytes than it has is corrupt."""
    sealed = _embedding().encode(A)
    payload = bytearray(sealed[128:])
    payload[4] += 1
    with pytest.raises(CorruptValue, match="disagree"):
        StoredEmbedding.decode(seal("embedding", A, ID, bytes(payload)), tenant=A, embedding_id=ID)


@pytest.mark.parametrize(
    "changes",
    [
        {"values": np.zeros((2, 3, 4), np.float32)},
        {"values": np.zeros((3, 4), np.float16)},
        {"values": np.zeros((0, 3, 4), np.float16)},
        {"embedding_id": b"short"},
        {"encoder_revision": "AB" * 32},
        {"model": ""},
        {"model": "m" * 65},
    ],
)
def test_what_cannot_be_stored_cannot_be_made(changes: dict[str, Any]) -> None:
    """An embedding that the format cannot hold is refused when it is made."""
    with pytest.raises(ValueError, match=r"take|must"):
        _embedding(**changes)


@pytest.fixture
def telemetry() -> Telemetry:
    """Telemetry that nobody reads but the test."""
    return Telemetry("test", stream=io.StringIO())


@pytest.fixture
def shared(telemetry: Telemetry) -> InMemoryCache:
    """Stands where Redis would: the same suite proves both (tests/contract/test_serving_cache.py)."""
    return InMemoryCache(2**20, name="embedding", telemetry=telemetry)


async def test_store_answers_from_memory_first(telemetry: Telemetry, shared: InMemoryCache) -> None:
    """What this process stored is answered without the shared cache."""
    store = EmbeddingStore(2**20, shared, telemetry)
    await store.put(A, _embedding())
    await shared.close()
    found = await store.get(A, ID)
    assert found is not None
    assert store.recall(A, ID) is found


async def test_store_shares_between_replicas(telemetry: Telemetry, shared: InMemoryCache) -> None:
    """What one replica stored another finds in the shared cache, and then has in memory."""
    await EmbeddingStore(2**20, shared, telemetry).put(A, _embedding())
    replica = EmbeddingStore(2**20, shared, telemetry)
    assert replica.recall(A, ID) is None
    found = await replica.get(A, ID)
    assert found is not None
    np.testing.assert_array_equal(found.values, _embedding().values)
    assert replica.recall(A, ID) is found


async def test_store_keeps_tenants_apart(telemetry: Telemetry, shared: InMemoryCache) -> None:
    """A tenant finds nothing of another's under the same id, in memory or behind it."""
    store = EmbeddingStore(2**20, shared, telemetry)
    await store.put(A, _embedding())
    assert await store.get(B, ID) is None
    assert await store.missing(B, [ID]) == {ID}


async def test_damaged_values_are_counted_misses(telemetry: Telemetry, shared: InMemoryCache) -> None:
    """A value that does not verify is a miss and a counted event, and a new store replaces it."""
    await shared.put(A, ID, b"garbage")
    store = EmbeddingStore(2**20, shared, telemetry)
    assert await store.get(A, ID) is None
    assert telemetry.value("hilum_cache_events_total", cache="embedding", event="corrupt") == 1
    await store.put(A, _embedding())
    assert await EmbeddingStore(2**20, shared, telemetry).get(A, ID) is not None


async def test_missing_asks_both(telemetry: Telemetry, shared: InMemoryCache) -> None:
    """An id is missing only if neither memory nor the shared cache has it."""
    in_memory, in_shared, nowhere = bytes(32), bytes([1] * 32), bytes([2] * 32)
    await EmbeddingStore(2**20, shared, telemetry).put(A, _embedding(embedding_id=in_shared))
    store = EmbeddingStore(2**20, InMemoryCache(0), telemetry)
    await store.put(A, _embedding(embedding_id=in_memory))
    assert await store.missing(A, [in_memory, in_shared, nowhere]) == {in_shared, nowhere}
    store = EmbeddingStore(2**20, shared, telemetry)
    await store.put(A, _embedding(embedding_id=in_memory))
    assert await store.missing(A, [in_memory, in_shared, nowhere]) == {nowhere}


async def test_memory_is_bounded(telemetry: Telemetry) -> None:
    """The store's memory holds no more bytes of embeddings than it was given."""
    store = EmbeddingStore(_embedding().values.nbytes, InMemoryCache(0), telemetry)
    await store.put(A, _embedding())
    await store.put(A, _embedding(embedding_id=bytes(32)))
    assert store.recall(A, ID) is None
    assert store.recall(A, bytes(32)) is not None
