"""What a kept value derives from, as tags by which it is purged.

A tag is a keyed hash: who reads the cache learns neither the group's name nor which image it was, and tags of two
tenants never agree.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import NewType

TAG_BYTES = 16

PurgeTag = NewType("PurgeTag", bytes)


def image_tag(tenant_key: bytes, digest: bytes) -> PurgeTag:
    """Returns the tag of an image: 16 bytes of HMAC-SHA-256(tenant key, "hilum.purge.image" NUL digest)."""
    return PurgeTag(hmac.digest(tenant_key, b"hilum.purge.image\0" + digest, "sha256")[:TAG_BYTES])


def group_tag(tenant_key: bytes, group: str) -> PurgeTag:
    """Returns the tag of a group: 16 bytes of HMAC-SHA-256(tenant key, "hilum.purge.group" NUL group)."""
    return PurgeTag(hmac.digest(tenant_key, b"hilum.purge.group\0" + group.encode(), "sha256")[:TAG_BYTES])


def purge_tags(tenant_key: bytes, digests: Iterable[bytes], groups: Iterable[str]) -> tuple[PurgeTag, ...]:
    """Returns the tags of images and of their groups, each once, empty groups left out."""
    images = [image_tag(tenant_key, digest) for digest in digests]
    return tuple(dict.fromkeys([*images, *(group_tag(tenant_key, group) for group in groups if group)]))
