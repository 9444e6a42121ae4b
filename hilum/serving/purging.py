"""Purging over all replicas: tombstones and a numbered list of purges in Redis, which every replica follows.

A purge first leaves a tombstone per tag, so that no value that is still being computed is kept, deletes what Redis has,
and then appends itself to the list. Every replica looks at the list's counter several times a second and forgets what
was purged. Where the list has a gap, or Redis was replaced by another one, a replica cannot know what it missed, and
forgets everything.

While Redis is away nothing new is purged, and a replica that Redis does not answer keeps what it has until the values
in its memory expire.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from redis.asyncio import Redis

from hilum.errors import BackendUnavailable
from hilum.serving.cache_keys import (
    PREFIX,
    PURGE_COUNTER,
    REPLICA_PREFIX,
    purge_copies_key,
    purge_key,
    replica_key,
    tombstone_key,
)
from hilum.serving.purge_tag import PurgeTag
from hilum.serving.purgeable_memory import REMEMBERED_S, Purgeable
from hilum.serving.redis_connection import RedisAway, RedisConnection
from hilum.serving.sealed_value import HEAD_BYTES, tags_of
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantTag

_POLL_S = 0.2
# A replica that has been silent for so long is no longer waited for.
_REPLICA_MS = 10_000
_CONFIRM_POLL_S = 0.02
_TOMBSTONE_MS = round(REMEMBERED_S * 1000)
_PURGE_MS = 3_600_000
_AT_ONCE = 500

# The server's clock alone counts. KEYS: tombstones. ARGV: ms to live.
_BURY = """
local time = redis.call('time')
local now = math.floor(time[1] * 1000 + time[2] / 1000)
for _, key in ipairs(KEYS) do redis.call('set', key, now, 'PX', ARGV[1]) end
return now
"""
# KEYS: the counter. ARGV: a token for a new counter, prefix of the purges' names, tags, ms to live.
_ANNOUNCE = """
local counter = redis.call('get', KEYS[1]) or (ARGV[1] .. ':0')
local token, number = string.match(counter, '^(.*):(%d+)$')
number = string.format('%d', number + 1)
redis.call('set', ARGV[2] .. number, ARGV[3], 'PX', ARGV[4])
redis.call('set', KEYS[1], token .. ':' .. number)
return token .. ':' .. number
"""


@dataclass(frozen=True)
class Position:
    """How far a list of purges has come.

    Attributes:
        token: Which list: a new one where Redis was replaced.
        number: Purges in it.
    """

    token: str
    number: int

    def __str__(self) -> str:
        return f"{self.token}:{self.number}"

    @classmethod
    def parse(cls, text: bytes) -> Position:
        """Returns what `str` wrote."""
        token, _, number = text.decode("ascii").rpartition(":")
        return cls(token, int(number))


@dataclass
class PurgeOutcome:
    """What a purge deleted.

    Attributes:
        deleted: Values deleted from Redis, by kind.
        memory_copies: Copies deleted from replicas' memory.
        replicas_confirmed: Replicas that have nothing of it any more.
        replicas_pending: Replicas that have not said so within some seconds.
    """

    deleted: dict[str, int] = field(default_factory=dict)
    memory_copies: int = 0
    replicas_confirmed: int = 0
    replicas_pending: int = 0


class PurgeFollower:
    """Makes one process forget what anybody purges.

    Args:
        connection: The way to Redis; None without, where nobody else is heard.
        memory: What forgets.
        telemetry: Where it is logged that everything was forgotten.
    """

    def __init__(self, connection: RedisConnection | None, memory: Purgeable, telemetry: Telemetry) -> None:
        self._connection = connection
        self._memory = memory
        self._telemetry = telemetry
        self._replica = secrets.token_hex(8)
        self._position: Position | None = None
        self._following: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()

    async def start(self) -> None:
        """Starts to follow."""
        self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Ends it, and takes leave of those who purge."""
        if self._following is None:
            return
        # Not cancelled: every step is bounded in time, and a cancelled one would leave a connection half read.
        self._ending.set()
        await self._following
        if self._connection is not None:
            with contextlib.suppress(RedisAway):
                await self._connection.run(lambda redis: redis.delete(replica_key(self._replica)))

    def forget(self, tags: Collection[PurgeTag]) -> int:
        """Forgets in this process; returns how many values it had."""
        return self._memory.forget(tags)

    async def step(self) -> bool:
        """Follows the list as far as it goes now; returns whether there was something new. Raises RedisAway."""
        connection = self._connection
        if connection is None:
            return False
        here = str(self._position or "")
        counter = await connection.run(partial(_report, replica=self._replica, position=here))
        if counter is None:
            return False
        there = Position.parse(counter)
        if there == self._position:
            return False
        await self._catch_up(connection, there)
        self._position = there
        return True

    async def _follow(self) -> None:
        while not self._ending.is_set():
            moved = False
            with contextlib.suppress(RedisAway):
                moved = await self.step()
            if not moved:
                self._memory.expire()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_S):
                        await self._ending.wait()

    async def _catch_up(self, connection: RedisConnection, there: Position) -> None:
        here = self._position
        if here is None or here.token != there.token or here.number > there.number:
            self._forget_everything("unknown_list")
            return
        numbers = range(here.number + 1, there.number + 1)
        purges = await connection.run(partial(_values, names=[purge_key(number) for number in numbers]))
        for number, tags in zip(numbers, purges, strict=True):
            if tags is None:
                self._forget_everything("gap")
                return
            copies = self._memory.forget(_split(tags))
            if copies:
                await connection.run(partial(_add_copies, number=number, copies=copies))

    def _forget_everything(self, reason: str) -> None:
        self._memory.clear()
        if self._position is not None:
            self._telemetry.log.warning("memory_cleared", reason=reason)


class Purging:
    """Deletes what derives from tags, everywhere.

    Args:
        connection: The way to Redis; None without, where only this process's memory is purged.
        follower: This process's own.
        kinds: Kinds of values in Redis, such as "embedding".
        confirm_s: How long replicas are waited for, twice, in seconds.
    """

    def __init__(
        self,
        connection: RedisConnection | None,
        follower: PurgeFollower,
        kinds: Sequence[str],
        *,
        confirm_s: float = 5.0,
    ) -> None:
        self._connection = connection
        self._follower = follower
        self._kinds = tuple(kinds)
        self._confirm_s = confirm_s

    async def purge(self, tenant: TenantTag, tags: Sequence[PurgeTag]) -> PurgeOutcome:
        """Deletes a tenant's values that carry one of the tags.

        Raises:
            BackendUnavailable: Redis does not answer; what this process had in memory is gone all the same.
        """
        outcome = PurgeOutcome(memory_copies=self._follower.forget(tags))
        if self._connection is None:
            outcome.replicas_confirmed = 1
            return outcome
        try:
            await self._purge(self._connection, tenant, tags, outcome)
        except RedisAway as away:
            raise BackendUnavailable(
                f"the shared cache does not answer ({away.event}), so that not everything is deleted; ask again",
                retry_after_s=1.0,
            ) from away
        return outcome

    async def _purge(
        self, connection: RedisConnection, tenant: TenantTag, tags: Sequence[PurgeTag], outcome: PurgeOutcome
    ) -> None:
        for some in _slices([tombstone_key(tag) for tag in tags]):
            await connection.run(partial(_bury, names=some))
        for kind in self._kinds:
            outcome.deleted[kind] = await _delete(connection, f"{PREFIX}:{kind}:{tenant}:*", frozenset(tags))
        # Twice: a decoder that heard of it first may have asked an encoder that had not heard yet.
        for _ in range(2):
            position = await _announce(connection, tags)
            outcome.replicas_confirmed, outcome.replicas_pending = await _confirmations(
                connection, position, self._confirm_s
            )
            (copies,) = await connection.run(partial(_values, names=[purge_copies_key(position.number)]))
            outcome.memory_copies += int(copies or 0)


async def _values(redis: Redis, names: Sequence[str | bytes]) -> list[bytes | None]:
    values: Any = await redis.mget(names)
    return list(values)


async def _report(redis: Redis, replica: str, position: str) -> bytes | None:
    """Says how far a replica has followed; returns the counter."""
    pipeline = redis.pipeline(transaction=False)
    pipeline.set(replica_key(replica), position, px=_REPLICA_MS)
    pipeline.set(PURGE_COUNTER, f"{secrets.token_hex(8)}:0", nx=True)
    pipeline.get(PURGE_COUNTER)
    # A full server refuses to write; the counter can still be read.
    *_, counter = await pipeline.execute(raise_on_error=False)
    return counter if isinstance(counter, bytes) else None


async def _add_copies(redis: Redis, number: int, copies: int) -> None:
    pipeline = redis.pipeline(transaction=False)
    pipeline.incrby(purge_copies_key(number), copies)
    pipeline.pexpire(purge_copies_key(number), _PURGE_MS)
    await pipeline.execute()


async def _bury(redis: Redis, names: Sequence[str]) -> None:
    await redis.eval(_BURY, len(names), *names, _TOMBSTONE_MS)


async def _announce(connection: RedisConnection, tags: Sequence[PurgeTag]) -> Position:
    listed = ",".join(tag.hex() for tag in tags)
    position: Any = await connection.run(
        lambda redis: redis.eval(
            _ANNOUNCE, 1, PURGE_COUNTER, secrets.token_hex(8), purge_key(0).removesuffix("0"), listed, _PURGE_MS
        )
    )
    return Position.parse(position)


async def _delete(connection: RedisConnection, pattern: str, tags: frozenset[PurgeTag]) -> int:
    deleted = 0
    async for names in _scan(connection, pattern):
        heads = await connection.run(partial(_heads, names=names))
        doomed = [name for name, head in zip(names, heads, strict=True) if not tags.isdisjoint(tags_of(head))]
        if doomed:
            deleted += await connection.run(partial(_unlink, names=doomed))
    return deleted


async def _unlink(redis: Redis, names: Sequence[bytes]) -> int:
    count: int = await redis.unlink(*names)
    return count


async def _heads(redis: Redis, names: Sequence[bytes]) -> list[bytes]:
    pipeline = redis.pipeline(transaction=False)
    for name in names:
        pipeline.getrange(name, 0, HEAD_BYTES - 1)
    heads: list[bytes] = await pipeline.execute()
    return heads


async def _confirmations(connection: RedisConnection, position: Position, patience_s: float) -> tuple[int, int]:
    """Waits for all replicas to have followed; returns how many have, and how many have not in good time."""
    replicas = [name async for names in _scan(connection, f"{REPLICA_PREFIX}*") for name in names]
    confirmed, pending = 0, len(replicas)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_s):
            while pending:
                places = await connection.run(partial(_values, names=replicas))
                # Those without a place have ended since, and their memory with them.
                present = [Position.parse(place) if place else None for place in places if place is not None]
                confirmed = sum(
                    place is not None and place.token == position.token and place.number >= position.number
                    for place in present
                )
                pending = len(present) - confirmed
                if pending:
                    await asyncio.sleep(_CONFIRM_POLL_S)
    return confirmed, pending


async def _scan(connection: RedisConnection, pattern: str) -> AsyncIterator[list[bytes]]:
    cursor = 0
    while True:
        cursor, names = await connection.run(partial(_scan_on, cursor=cursor, pattern=pattern))
        if names:
            yield names
        if not cursor:
            return


async def _scan_on(redis: Redis, cursor: int, pattern: str) -> tuple[int, list[bytes]]:
    answer: Any = await redis.scan(cursor, match=pattern, count=_AT_ONCE)
    following, names = answer
    return int(following), names


def _slices(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]


def _split(tags: bytes) -> list[PurgeTag]:
    return [PurgeTag(bytes.fromhex(tag)) for tag in tags.decode("ascii").split(",")]
