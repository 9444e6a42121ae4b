"""Names of everything that Hilum keeps in Redis. The version changes with the layout: two releases share no value."""

from __future__ import annotations

from hilum.serving.purge_tag import PurgeTag
from hilum.serving.tenant import TenantTag

PREFIX = "hilum:v2"

# Kinds of values.
EMBEDDING = "embedding"
TRANSFORM = "transform"

# How many purges there have been, after a token of this very counter: "<token>:<number>".
PURGE_COUNTER = f"{PREFIX}:purges"
REPLICA_PREFIX = f"{PREFIX}:replica:"


def value_key(kind: str, tenant: TenantTag, identity: bytes) -> str:
    """Returns the name of a kept value."""
    return f"{PREFIX}:{kind}:{tenant}:{identity.hex()}"


def lock_key(kind: str, tenant: TenantTag, identity: bytes) -> str:
    """Returns the name of the lock of whoever computes a value."""
    return f"{PREFIX}:lock:{kind}:{tenant}:{identity.hex()}"


def tombstone_key(tag: PurgeTag) -> str:
    """Returns the name under which it stands when a tag was purged, in ms of the server's clock."""
    return f"{PREFIX}:purged:{tag.hex()}"


def purge_key(number: int) -> str:
    """Returns the name under which the tags of a purge stand."""
    return f"{PREFIX}:purge:{number}"


def purge_copies_key(number: int) -> str:
    """Returns the name under which replicas count what they deleted from their memory for a purge."""
    return f"{PREFIX}:purge-copies:{number}"


def replica_key(replica: str) -> str:
    """Returns the name under which a replica says up to which purge it has followed."""
    return f"{REPLICA_PREFIX}{replica}"
