"""Values in this process's memory that expire and can be purged."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from hilum.serving.memory_cache import ByteBoundedLru
from hilum.serving.purge_tag import PurgeTag
from hilum.serving.tenant import TenantTag

V = TypeVar("V")
Key: TypeAlias = tuple[TenantTag, bytes]

# No request takes longer; until then what was purged may still be in the making.
REMEMBERED_S = 900.0


class Purgeable(Protocol):
    """A memory that forgets when it is told to."""

    def forget(self, tags: Collection[PurgeTag]) -> int:
        """Forgets what carries one of the tags, and refuses such values in the making; returns how many it had."""
        ...

    def clear(self) -> None:
        """Forgets everything, and refuses everything in the making."""
        ...

    def expire(self) -> None:
        """Frees what is too old."""
        ...


@dataclass(frozen=True)
class _Held(Generic[V]):
    value: V
    tags: frozenset[PurgeTag]
    until: float


class PurgeableMemory(Generic[V]):
    """Values by tenant and id, bounded by bytes and by age.

    Args:
        capacity_bytes: Sum of sizes that is kept at most; 0 keeps nothing.
        size_of: Size of a value in bytes.
        ttl_s: How long a value is kept, in seconds.
        clock: In seconds; never runs backwards.

    Attributes:
        values: What is kept; to be measured.
    """

    def __init__(
        self,
        capacity_bytes: int,
        size_of: Callable[[V], int],
        *,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.values: ByteBoundedLru[Key, _Held[V]] = ByteBoundedLru(capacity_bytes, lambda held: size_of(held.value))
        self._ttl_s = ttl_s
        self.now = clock
        self._purged_at: dict[PurgeTag, float] = {}
        self._cleared_at = float("-inf")

    def __contains__(self, key: Key) -> bool:
        """Says whether the key has a value, without counting as a use."""
        held = self.values.peek(key)
        return held is not None and held.until > self.now()

    def get(self, key: Key) -> V | None:
        """Returns the value and marks it as used now; None where there is none, or it is too old."""
        held = self.values.get(key)
        if held is None:
            return None
        if held.until <= self.now():
            self.values.discard(key)
            return None
        return held.value

    def put(self, key: Key, value: V, tags: Sequence[PurgeTag], *, since: float) -> None:
        """Keeps the value, unless it was purged after its making began.

        Args:
            key: Whose it is, and its id.
            value: The value.
            tags: What it derives from.
            since: `now()` when the request arrived or the look-up began that it comes from.
        """
        purged_at = max((self._purged_at.get(tag, self._cleared_at) for tag in tags), default=self._cleared_at)
        if since > max(purged_at, self._cleared_at):
            self.values.put(key, _Held(value, frozenset(tags), self.now() + self._ttl_s))

    def forget(self, tags: Collection[PurgeTag]) -> int:
        """Forgets what carries one of the tags; see Purgeable."""
        self._purged_at |= dict.fromkeys(tags, self.now())
        return self.values.discard_where(lambda held: not held.tags.isdisjoint(tags))

    def clear(self) -> None:
        """Forgets everything; see Purgeable."""
        self._cleared_at = self.now()
        self.values.clear()

    def expire(self) -> None:
        """Frees what is too old; see Purgeable."""
        now = self.now()
        self.values.discard_where(lambda held: held.until <= now)
        self._purged_at = {tag: at for tag, at in self._purged_at.items() if at > now - REMEMBERED_S}
