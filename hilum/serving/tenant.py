"""For whom a request is answered: tenants, their tags in cache keys, and their keys.

The interceptor resolves the tenant of every RPC from the caller's identity, never from the request's fields, and keeps
it in a context variable. A tenant's tag separates cache keys; a tenant's key enters the HMAC behind `embedding_id`.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import NewType, Protocol

from hilum.errors import InvalidField

TENANT_METADATA_KEY = "x-hilum-tenant"
DEFAULT_TENANT = "default"

# What stands for a tenant outside this process. A type of its own: a name where a tag belongs would be a leak.
TenantTag = NewType("TenantTag", str)

_TENANT_NAME = re.compile(r"[a-z0-9-]{1,64}")
_current_tenant: ContextVar[str] = ContextVar("hilum_tenant")


def is_tenant_name(name: str) -> bool:
    """Whether a tenant may be called so: 1 to 64 of the characters a-z, 0-9 and -."""
    return _TENANT_NAME.fullmatch(name) is not None


class TenantResolver(Protocol):
    """Says for whom a call is made."""

    def resolve(self, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Returns the tenant's name.

        Args:
            metadata: The call's invocation metadata as (key, value) pairs.

        Raises:
            InvalidField: If the metadata names no tenant, several, or one that is malformed.
        """
        ...


class DefaultTenant:
    """Every caller is the tenant "default": for one institution, or as long as nobody authenticates callers."""

    def resolve(self, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Returns "default", whatever the metadata says."""
        del metadata
        return DEFAULT_TENANT


class MetadataTenant:
    """Reads the tenant from `x-hilum-tenant`.

    Safe only behind a proxy that authenticates callers, removes the header that they sent and sets its own.
    """

    def resolve(self, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Returns the one `x-hilum-tenant` value; see TenantResolver.

        Two headers are refused rather than chosen from: one of them may have come past the proxy.
        """
        names = [value for key, value in metadata if key == TENANT_METADATA_KEY]
        if len(names) != 1:
            raise InvalidField(f"exactly one such header is required, got {len(names)}", field=TENANT_METADATA_KEY)
        name = names[0]
        if not isinstance(name, str) or not is_tenant_name(name):
            raise InvalidField("must be 1 to 64 of the characters a-z, 0-9 and -", field=TENANT_METADATA_KEY)
        return name


class TenantKeys:
    """Derives one secret key per tenant from a master key.

    Args:
        master: At least 16 bytes.
    """

    def __init__(self, master: bytes) -> None:
        if len(master) < 16:
            raise ValueError("The master key must have at least 16 bytes.")
        self._master = master

    def key(self, tenant: str) -> bytes:
        """Returns HMAC-SHA-256(master, "hilum.tenant" NUL tenant), 32 bytes."""
        return hmac.digest(self._master, b"hilum.tenant\0" + tenant.encode(), "sha256")


def tenant_tag(tenant: str) -> TenantTag:
    """Returns the tag that stands for a tenant in cache keys, value headers and logs: 16 hex digits.

    The first 8 bytes of SHA-256("hilum.tenant_tag" NUL tenant); the name itself never leaves the process.
    """
    return TenantTag(hashlib.sha256(b"hilum.tenant_tag\0" + tenant.encode()).hexdigest()[:16])


def current_tenant() -> str:
    """Returns the tenant of the RPC being handled.

    Raises:
        LookupError: Outside an RPC. There is no fallback: a wrong tenant would be a leak, not a default.
    """
    return _current_tenant.get()


@contextlib.contextmanager
def acting_for(tenant: str) -> Iterator[None]:
    """Makes `tenant` the current tenant inside the block."""
    token = _current_tenant.set(tenant)
    try:
        yield
    finally:
        _current_tenant.reset(token)
