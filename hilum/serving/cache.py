"""The role of a value cache: bytes by tenant and content-addressed key."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from hilum.serving.tenant import TenantTag


class ValueCache(Protocol):
    """Keeps bytes for a while. It may forget anything at any time, and it never fails a request.

    A cache that is away, slow, full or damaged answers as if it knew nothing; what happened is counted in telemetry.
    Keys are SHA-256 or HMAC-SHA-256 digests of everything that decides the value, so a value never changes and needs no
    invalidation. A tenant's values are never returned to another tenant.

    Keys are given as the digest's bytes.
    """

    async def get(self, tenant: TenantTag, key: bytes) -> bytes | None:
        """Returns the value, or None when it is not there."""
        ...

    async def put(self, tenant: TenantTag, key: bytes, value: bytes, *, age_s: float = 0.0) -> None:
        """Keeps the value if it can.

        Args:
            tenant: Whose it is.
            key: Its id.
            value: A sealed value; see sealed_value.py.
            age_s: How long ago the request arrived that it comes from, in seconds: not kept where what it derives from
                was purged since.
        """
        ...

    async def missing(self, tenant: TenantTag, keys: Collection[bytes]) -> set[bytes]:
        """Returns those of `keys` that have no value here, as far as is known."""
        ...

    async def ping(self) -> bool:
        """Returns whether the cache answers at this moment."""
        ...

    async def close(self) -> None:
        """Frees connections and memory; nothing else may be called afterwards."""
        ...
