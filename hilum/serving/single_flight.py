"""One computation per key, however many ask: in this process, and across replicas through Redis.

Both only save work. Whatever fails in them, the value is computed: values are content-addressed, so that computing one
twice costs time and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from hilum.serving.cache_keys import lock_key
from hilum.serving.priority import Urgency, current_priority, prioritised
from hilum.serving.redis_connection import RedisAway, RedisConnection
from hilum.serving.telemetry import Telemetry, rpc_facts
from hilum.serving.tenant import TenantTag

T = TypeVar("T")
FlightKey: TypeAlias = tuple[TenantTag, bytes]
Lookup: TypeAlias = Callable[[], Awaitable[T | None]]
Compute: TypeAlias = Callable[[], Awaitable[T]]

_FIRST_POLL_S = 0.005
_LONGEST_POLL_S = 0.1
# Only the holder of the token may renew or release: by then the lock may have expired and be someone else's.
_RENEW = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('pexpire', KEYS[1], ARGV[2]) or 0"
_RELEASE = "return redis.call('get', KEYS[1]) == ARGV[1] and redis.call('del', KEYS[1]) or 0"


class Flight(Protocol):
    """Lets one caller per key compute while the others wait for its value."""

    async def once(self, key: FlightKey, lookup: Lookup[T], compute: Compute[T]) -> T:
        """Returns what `lookup` finds, else what one caller's `compute` returns.

        Meant for callers that have looked and found nothing: the value is looked for again only when somebody else may
        have finished it since.

        Args:
            key: Tenant tag and id of the value.
            lookup: Looks for a value that is already there; may be called several times.
            compute: Makes the value and puts it where `lookup` finds it.
        """
        ...


@dataclass
class _Joined:
    task: asyncio.Task[Any]
    urgency: Urgency
    waiters: int = 0


class SingleFlight:
    """One computation per key in this process.

    A caller that is cancelled leaves the others waiting; when the last one leaves, the computation is cancelled. An
    error goes to all that wait; the next caller tries again. What somebody interactive waits for is interactive,
    whoever began it.

    Args:
        across: What the one caller goes through next, such as a CrossReplicaFlight; None to look up and compute.
    """

    def __init__(self, across: Flight | None = None) -> None:
        self._across = across
        self._flights: dict[FlightKey, _Joined] = {}

    async def once(self, key: FlightKey, lookup: Lookup[T], compute: Compute[T]) -> T:
        """Returns the value; see Flight."""
        flight = self._flights.get(key)
        if flight is None:
            # An urgency of its own, which says nothing of the rest of the first caller's call.
            with prioritised(current_priority()) as urgency:
                flight = _Joined(asyncio.create_task(self._fly(key, lookup, compute)), urgency)
            self._flights[key] = flight
        else:
            flight.urgency.raise_to(current_priority())
            rpc_facts().add(joined_flight=True)
        flight.waiters += 1
        try:
            value: T = await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if flight.waiters == 0:
                self._leave(key, flight)
        return value

    async def _fly(self, key: FlightKey, lookup: Lookup[T], compute: Compute[T]) -> T:
        if self._across is not None:
            return await self._across.once(key, lookup, compute)
        return await _found_or_computed(lookup, compute)

    def _leave(self, key: FlightKey, flight: _Joined) -> None:
        flight.task.cancel()  # does nothing to a task that is done
        if self._flights.get(key) is flight:
            del self._flights[key]


class CrossReplicaFlight:
    """One computation per key among all replicas that share a Redis server.

    The computing replica holds a lock: a key with a token of its own that expires unless it is renewed, so that a
    replica that dies is replaced. The others wait for the lock to go away and then look for the value. When Redis does
    not answer, or the wait is too long, the value is computed here.

    Args:
        connection: The way to the server.
        kind: What is computed; part of the lock's key.
        telemetry: Where a lost lock is logged.
        lock_s: How long a lock outlives its holder's last sign of life, in seconds.
        patience_s: How long to wait for another replica before computing here, in seconds.
    """

    def __init__(
        self,
        connection: RedisConnection,
        *,
        kind: str,
        telemetry: Telemetry,
        lock_s: float = 5.0,
        patience_s: float = 60.0,
    ) -> None:
        self._connection = connection
        self._kind = kind
        self._telemetry = telemetry
        self._lock_s = lock_s
        self._patience_s = patience_s

    async def once(self, key: FlightKey, lookup: Lookup[T], compute: Compute[T]) -> T:
        """Returns the value; see Flight."""
        tenant, identifier = key
        lock = _TokenLock(self._connection, lock_key(self._kind, tenant, identifier), self._lock_s)
        try:
            async with asyncio.timeout(self._patience_s):
                while not await lock.take():
                    await lock.gone()
                    rpc_facts().add(waited_for_replica=True)
                    found = await lookup()
                    if found is not None:
                        return found
        except (RedisAway, TimeoutError):
            return await _found_or_computed(lookup, compute)
        async with self._holding(lock):
            return await _found_or_computed(lookup, compute)

    @contextlib.asynccontextmanager
    async def _holding(self, lock: _TokenLock) -> AsyncIterator[None]:
        renewal = asyncio.create_task(self._keep(lock))
        try:
            yield
        finally:
            renewal.cancel()
            with contextlib.suppress(RedisAway):  # it expires by itself
                await lock.release()

    async def _keep(self, lock: _TokenLock) -> None:
        while True:
            await asyncio.sleep(self._lock_s / 3)
            with contextlib.suppress(RedisAway):
                if not await lock.renew():
                    self._telemetry.log.warning("flight_lock_lost", kind=self._kind)
                    return


async def _found_or_computed(lookup: Lookup[T], compute: Compute[T]) -> T:
    found = await lookup()
    return await compute() if found is None else found


class _TokenLock:
    """A lock in Redis: a key that holds its owner's random token and expires."""

    def __init__(self, connection: RedisConnection, name: str, lock_s: float) -> None:
        self._connection = connection
        self._name = name
        self._token = secrets.token_hex(16)
        self._lock_ms = max(1, round(lock_s * 1000))

    async def take(self) -> bool:
        """Returns whether the lock is ours now. Raises RedisAway."""
        return bool(
            await self._connection.run(
                lambda redis: redis.set(self._name, self._token, nx=True, px=self._lock_ms), operation="SET"
            )
        )

    async def gone(self) -> None:
        """Returns when nobody holds the lock. Raises RedisAway."""
        pause_s = _FIRST_POLL_S
        while await self._connection.run(lambda redis: redis.exists(self._name), operation="EXISTS"):
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, _LONGEST_POLL_S)

    async def renew(self) -> bool:
        """Returns whether the lock was still ours; it then lives on for its whole time. Raises RedisAway."""
        return bool(
            await self._connection.run(
                lambda redis: redis.eval(_RENEW, 1, self._name, self._token, self._lock_ms), operation="EVAL"
            )
        )

    async def release(self) -> None:
        """Frees the lock if it is still ours. Raises RedisAway."""
        await self._connection.run(lambda redis: redis.eval(_RELEASE, 1, self._name, self._token), operation="EVAL")
