"""The ValueCache in Redis, shared by all replicas."""

from __future__ import annotations

from collections.abc import Collection

from redis.asyncio import Redis

from hilum.serving.cache_keys import tombstone_key, value_key
from hilum.serving.redis_connection import RedisAway, RedisConnection
from hilum.serving.sealed_value import tags_of
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantTag

# In one step, so that no reader sees a value that was purged while it was computed. The server's clock alone counts.
# KEYS: the value's, then tombstones. ARGV: value, ms to live, ms of age.
_PUT_UNLESS_PURGED = """
local time = redis.call('time')
local since = time[1] * 1000 + time[2] / 1000 - ARGV[3]
for index = 2, #KEYS do
    local purged = redis.call('get', KEYS[index])
    if purged and tonumber(purged) >= since then return 0 end
end
redis.call('set', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class RedisEmbeddingCache:
    """Keeps values under `hilum:v2:<kind>:<tenant tag>:<hex key>`, each for a while after it was put.

    When Redis is away, slow or full, look-ups find nothing and stores do nothing; both are counted.

    Args:
        connection: The way to the server, possibly shared with others.
        kind: What is kept, such as "embedding" or "transform": part of the key, and the label in metrics.
        telemetry: Where hits, misses and failures are counted.
        ttl_s: How long a value is kept, in seconds; the server may evict it sooner.
        max_value_bytes: Larger values are not kept.
    """

    def __init__(
        self,
        connection: RedisConnection,
        *,
        kind: str,
        telemetry: Telemetry,
        ttl_s: float,
        max_value_bytes: int = 32 * 2**20,
    ) -> None:
        self._connection = connection
        self._kind = kind
        self._telemetry = telemetry
        telemetry.cache_opened(kind)
        self._ttl_ms = max(1, round(ttl_s * 1000))
        self._max_value_bytes = max_value_bytes

    async def get(self, tenant: TenantTag, key: bytes) -> bytes | None:
        """Returns the value, or None; see ValueCache."""
        name = self._name(tenant, key)
        try:
            value = await self._connection.run(lambda redis: redis.get(name), operation="GET")
        except RedisAway as away:
            self._telemetry.cache_event(self._kind, away.event)
            return None
        self._telemetry.cache_event(self._kind, "miss" if value is None else "hit")
        return value  # type: ignore[return-value]  # redis types the answer for decode_responses too

    async def put(self, tenant: TenantTag, key: bytes, value: bytes, *, age_s: float = 0.0) -> None:
        """Keeps the value unless it is too large, was purged since it began, or Redis is away; see ValueCache."""
        if len(value) > self._max_value_bytes:
            self._telemetry.cache_event(self._kind, "too_large")
            return
        name = self._name(tenant, key)
        names = [name, *(tombstone_key(tag) for tag in tags_of(value))]
        age_ms = max(0, round(age_s * 1000))
        try:
            kept = await self._connection.run(
                lambda redis: redis.eval(_PUT_UNLESS_PURGED, len(names), *names, value, self._ttl_ms, age_ms),
                operation="EVAL",
            )
        except RedisAway as away:
            self._telemetry.cache_event(self._kind, away.event)
        else:
            self._telemetry.cache_event(self._kind, "stored" if kept else "purged")

    async def missing(self, tenant: TenantTag, keys: Collection[bytes]) -> set[bytes]:
        """Returns the keys without a value, all of them when Redis is away; see ValueCache."""
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return set()
        try:
            found = await self._connection.run(lambda redis: self._exist(redis, tenant, wanted), operation="EXISTS")
        except RedisAway as away:
            self._telemetry.cache_event(self._kind, away.event)
            return set(wanted)
        return {key for key, exists in zip(wanted, found, strict=True) if not exists}

    async def ping(self) -> bool:
        """Returns whether Redis answers."""
        return await self._connection.ping()

    async def close(self) -> None:
        """Closes the connection, for everyone who shares it."""
        await self._connection.close()

    async def _exist(self, redis: Redis, tenant: TenantTag, keys: list[bytes]) -> list[int]:
        pipeline = redis.pipeline(transaction=False)
        for key in keys:
            pipeline.exists(self._name(tenant, key))
        found: list[int] = await pipeline.execute()
        return found

    def _name(self, tenant: TenantTag, key: bytes) -> str:
        return value_key(self._kind, tenant, key)
