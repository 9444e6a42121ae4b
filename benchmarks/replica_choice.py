"""Which replica answers a call: round robin, and ring hash as Envoy does it.

Karger et al., Consistent hashing and random trees, 1997; bounded loads after Mirrokni, Thorup and Zadimoghaddam, 2018
(Envoy's `hash_balance_factor`).
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Sequence
from typing import Protocol


class Load(Protocol):
    """How busy replicas are."""

    def of(self, replica: str) -> int:
        """Returns a replica's calls in progress."""
        ...

    def total(self) -> int:
        """Returns all calls in progress."""
        ...


class Choice(Protocol):
    """A way to choose a replica."""

    def pick(self, key: bytes, load: Load) -> str:
        """Returns the name of a replica.

        Args:
            key: What the call is about, such as an embedding id.
            load: How busy replicas are now.
        """
        ...

    def replace(self, replicas: Sequence[str]) -> None:
        """Takes note of the replicas that are alive now."""
        ...


class RoundRobin:
    """One after the other, whatever the call is about."""

    def __init__(self, replicas: Sequence[str]) -> None:
        self._replicas = tuple(replicas)
        self._next = 0

    def pick(self, key: bytes, load: Load) -> str:
        """Returns the next replica; see Choice."""
        del key, load
        self._next += 1
        return self._replicas[self._next % len(self._replicas)]

    def replace(self, replicas: Sequence[str]) -> None:
        """See Choice."""
        self._replicas = tuple(replicas)


class RingHash:
    """The first replica at or after the key's place on a ring on which every replica has many places.

    Args:
        replicas: Their names.
        size: Places on the ring, at least. Every replica gets the same number of them, so that the loss of one gives
            the others more places, and moves some images between these as well.
        balance: A replica with more calls than this times the mean is passed over for the next on the ring; None for no
            such bound.
    """

    def __init__(self, replicas: Sequence[str], *, size: int = 16_384, balance: float | None = None) -> None:
        self._size = size
        self._balance = balance
        self.replace(replicas)

    def replace(self, replicas: Sequence[str]) -> None:
        """See Choice."""
        each = -(-self._size // len(replicas))
        ring = sorted((_place(f"{name}_{index}".encode()), name) for name in replicas for index in range(each))
        self._places = [place for place, _ in ring]
        self._names = [name for _, name in ring]
        self._count = len(replicas)

    def pick(self, key: bytes, load: Load) -> str:
        """Returns the key's replica, or with a bound the next one on the ring that is not busy; see Choice."""
        start = bisect.bisect_left(self._places, _place(key)) % len(self._places)
        if self._balance is None:
            return self._names[start]
        bound = self._balance * (load.total() + 1) / self._count
        for step in range(len(self._names)):
            name = self._names[(start + step) % len(self._names)]
            if load.of(name) + 1 <= max(bound, 1):
                return name
        return self._names[start]


def _place(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
