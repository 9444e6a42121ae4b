import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilum.serving.memory_cache import ByteBoundedLru, InMemoryCache
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag

TENANT = tenant_tag("a")


def test_what_was_used_longest_ago_goes_first() -> None:
    """Reading a value keeps it; asking whether it is there does not."""
    lru: ByteBoundedLru[str, bytes] = ByteBoundedLru(3, len)
    for key in "abc":
        lru.put(key, b"x")
    assert lru.get("a") == b"x"
    assert "b" in lru
    lru.put("d", b"x")
    assert [key for key in "abcd" if key in lru] == ["a", "c", "d"]


def test_a_value_larger_than_the_capacity_is_not_kept() -> None:
    """A value that can never fit is refused and pushes nothing out."""
    lru: ByteBoundedLru[str, bytes] = ByteBoundedLru(3, len)
    lru.put("a", b"xx")
    assert not lru.put("b", b"xxxx")
    assert "a" in lru


def test_a_replaced_value_frees_its_bytes() -> None:
    """Putting a key again counts its bytes once."""
    lru: ByteBoundedLru[str, bytes] = ByteBoundedLru(10, len)
    lru.put("a", b"x" * 8)
    lru.put("a", b"y" * 9)
    assert (lru.get("a"), lru.used_bytes, len(lru)) == (b"y" * 9, 9, 1)


@given(st.lists(st.tuples(st.integers(0, 5), st.binary(max_size=12))), st.integers(0, 20))
def test_capacity_is_never_exceeded(puts: list[tuple[int, bytes]], capacity: int) -> None:
    """After every store the sum of sizes is right and within the capacity, and the newest that fits is there."""
    lru: ByteBoundedLru[int, bytes] = ByteBoundedLru(capacity, len)
    for key, value in puts:
        kept = lru.put(key, value)
        assert kept == (len(value) <= capacity)
        assert lru.get(key) == (value if kept else None)
        assert lru.used_bytes == sum(len(lru.get(k) or b"") for k in range(6)) <= capacity


def test_negative_capacity_is_refused() -> None:
    """A negative capacity is an error."""
    with pytest.raises(ValueError, match="negative"):
        ByteBoundedLru(-1, len)


async def test_closing_forgets() -> None:
    """A closed in-memory cache holds no memory."""
    cache = InMemoryCache(100, telemetry=Telemetry("t", stream=io.StringIO()))
    await cache.put(TENANT, b"k" * 32, b"v")
    await cache.close()
    assert await cache.get(TENANT, b"k" * 32) is None
