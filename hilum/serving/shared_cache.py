"""What the settings say of Redis, built: the cache, single flight over it, and what health pings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hilum.serving.cache import ValueCache
from hilum.serving.health import Dependency
from hilum.serving.memory_cache import InMemoryCache
from hilum.serving.redis_cache import RedisEmbeddingCache
from hilum.serving.redis_connection import RedisConnection
from hilum.serving.settings import ServiceSettings
from hilum.serving.single_flight import CrossReplicaFlight, Flight, SingleFlight
from hilum.serving.telemetry import Telemetry


@dataclass(frozen=True)
class SharedCache:
    """A cache that replicas share, or nothing in its place.

    Attributes:
        cache: Values of one kind; without Redis a cache that keeps nothing, as every server has a local one in front.
        flight: One computation per value, across replicas where there is Redis.
        dependencies: Redis, not required; none without it.
        close: Closes connections.
        connection: The way to Redis, None without it.
    """

    cache: ValueCache
    flight: Flight
    dependencies: tuple[Dependency, ...]
    close: Callable[[], Awaitable[None]]
    connection: RedisConnection | None = None


def shared_cache(settings: ServiceSettings, kind: str, telemetry: Telemetry) -> SharedCache:
    """Returns the cache for values of one kind, such as "embedding"."""
    if settings.redis_url is None:
        nothing = InMemoryCache(0, telemetry=None)
        return SharedCache(nothing, SingleFlight(), (), nothing.close)
    connection = RedisConnection(
        settings.redis_url,
        telemetry=telemetry,
        operation_timeout_s=settings.cache_timeout_ms / 1000,
        password_file=settings.redis_password_file,
        ca=settings.redis_ca,
    )
    cache: ValueCache = RedisEmbeddingCache(connection, kind=kind, telemetry=telemetry, ttl_s=settings.cache_ttl_s)
    if settings.cache_keys is not None:
        # cryptography is loaded only by the servers that use it.
        from hilum.serving.cache_keyring import CacheKeyring  # noqa: PLC0415
        from hilum.serving.encrypted_cache import EncryptedCache  # noqa: PLC0415

        keyring = CacheKeyring.load(settings.cache_keys)
        cache = EncryptedCache(cache, keyring, kind=kind, telemetry=telemetry)
    return SharedCache(
        cache,
        SingleFlight(CrossReplicaFlight(connection, kind=kind, telemetry=telemetry)),
        (Dependency("redis", connection.ping, required=False),),
        connection.close,
        connection,
    )
