"""Caches in this process's memory, bounded by bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from typing import Generic, TypeVar

from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantTag

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteBoundedLru(Generic[K, V]):
    """A mapping that forgets what was used longest ago once its values exceed a number of bytes.

    Args:
        capacity_bytes: Sum of sizes that is kept at most; 0 keeps nothing.
        size_of: Size of a value in bytes.

    Attributes:
        evictions: Values forgotten to make room for others.
    """

    def __init__(self, capacity_bytes: int, size_of: Callable[[V], int]) -> None:
        if capacity_bytes < 0:
            raise ValueError(f"capacity_bytes must not be negative, got {capacity_bytes}.")
        self.capacity_bytes = capacity_bytes
        self._size_of = size_of
        self._values: OrderedDict[K, V] = OrderedDict()
        self._used_bytes = 0
        self.evictions = 0

    @property
    def used_bytes(self) -> int:
        """Sum of the sizes of all values."""
        return self._used_bytes

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: K) -> bool:
        """Says whether the key has a value, without counting as a use."""
        return key in self._values

    def get(self, key: K) -> V | None:
        """Returns the value and marks it as used now; None when there is none."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def peek(self, key: K) -> V | None:
        """Returns the value without counting as a use; None when there is none."""
        return self._values.get(key)

    def put(self, key: K, value: V) -> bool:
        """Keeps the value, forgetting others for it.

        Returns:
            False if it is larger than the capacity and was not kept.
        """
        self.discard(key)
        size = self._size_of(value)
        if size > self.capacity_bytes:
            return False
        while self._used_bytes + size > self.capacity_bytes:
            _, evicted = self._values.popitem(last=False)
            self._used_bytes -= self._size_of(evicted)
            self.evictions += 1
        self._values[key] = value
        self._used_bytes += size
        return True

    def discard(self, key: K) -> None:
        """Forgets the value, if there is one."""
        value = self._values.pop(key, None)
        if value is not None:
            self._used_bytes -= self._size_of(value)

    def discard_where(self, unwanted: Callable[[V], bool]) -> int:
        """Forgets every value of which that holds; returns how many."""
        keys = [key for key, value in self._values.items() if unwanted(value)]
        for key in keys:
            self.discard(key)
        return len(keys)

    def clear(self) -> None:
        """Forgets everything."""
        self._values.clear()
        self._used_bytes = 0


class InMemoryCache:
    """A ValueCache in this process: for one replica without Redis.

    Args:
        capacity_bytes: Sum of value sizes that is kept at most.
        name: Label in metrics.
        telemetry: Where hits and misses are counted; None for nowhere.
        max_value_bytes: Larger values are not kept.
    """

    def __init__(
        self,
        capacity_bytes: int,
        *,
        name: str = "memory",
        telemetry: Telemetry | None = None,
        max_value_bytes: int | None = None,
    ) -> None:
        self._name = name
        self._telemetry = telemetry
        self._max_value_bytes = capacity_bytes if max_value_bytes is None else max_value_bytes
        self._values: ByteBoundedLru[tuple[TenantTag, bytes], bytes] = ByteBoundedLru(capacity_bytes, len)

    async def get(self, tenant: TenantTag, key: bytes) -> bytes | None:
        """Returns the value, or None; see ValueCache."""
        value = self._values.get((tenant, key))
        if self._telemetry is not None:
            self._telemetry.cache_event(self._name, "miss" if value is None else "hit")
        return value

    async def put(self, tenant: TenantTag, key: bytes, value: bytes, *, age_s: float = 0.0) -> None:
        """Keeps the value unless it is too large; see ValueCache. Nothing is purged here, so that age is no matter."""
        del age_s
        kept = len(value) <= self._max_value_bytes and self._values.put((tenant, key), bytes(value))
        if self._telemetry is not None:
            self._telemetry.cache_event(self._name, "stored" if kept else "too_large")

    async def missing(self, tenant: TenantTag, keys: Collection[bytes]) -> set[bytes]:
        """Returns the keys without a value; see ValueCache."""
        return {key for key in keys if (tenant, key) not in self._values}

    async def ping(self) -> bool:
        """Returns True."""
        return True

    async def close(self) -> None:
        """Forgets everything."""
        self._values.clear()
