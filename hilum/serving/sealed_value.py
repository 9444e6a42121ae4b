"""The envelope of everything kept in a shared cache: what it is, whose it is, and that it is whole.

Layout, little-endian, 128 bytes, then the purge tags, 16 bytes each, then the payload::

    offset  size  field
         0     8  magic, "HILUMVAL"
         8     2  format version, unsigned, now 2
        10    22  kind, ASCII, padded with zeros, such as "embedding"
        32    16  tenant tag, ASCII
        48    32  key (SHA-256 or HMAC-SHA-256)
        80     8  length of tags and payload in bytes, unsigned
        88     2  number of purge tags, unsigned, at most 8
        90     6  zeros
        96    32  SHA-256 of bytes 0..95, the tags and the payload

The checksum finds damage, not malice: who can write to the cache can write valid values. Nothing in it is code.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence

from hilum.serving.purge_tag import TAG_BYTES, PurgeTag
from hilum.serving.tenant import TenantTag

HEADER_BYTES = 128
MAX_TAGS = 8
# As much of a value as tells what it derives from.
HEAD_BYTES = HEADER_BYTES + MAX_TAGS * TAG_BYTES

_MAGIC = b"HILUMVAL"
_FORMAT_VERSION = 2
_CLAIMS = struct.Struct("<8sH22s16s32sQH6x")
_TAG_COUNT = struct.Struct("<88xH")


class CorruptValue(Exception):
    """A cached value is damaged, of another format, or not what it was looked up as."""


def seal(
    kind: str, tenant: TenantTag, key: bytes, *payload: bytes | memoryview, tags: Sequence[PurgeTag] = ()
) -> bytes:
    """Returns the envelope around a payload given in parts.

    Args:
        kind: 1 to 22 ASCII characters.
        tenant: Tag of the tenant, 16 ASCII characters.
        key: 32 bytes.
        payload: C-contiguous buffers; the payload is their concatenation.
        tags: What the value derives from, at most 8.
    """
    parts: tuple[bytes | memoryview, ...] = (*tags, *payload)
    claims = _claims(kind, tenant, key, sum(memoryview(part).nbytes for part in parts), len(tags))
    checksum = hashlib.sha256(claims)
    for part in parts:
        checksum.update(part)
    return b"".join((claims, checksum.digest(), *(memoryview(part).cast("B") for part in parts)))


def unseal(data: bytes, kind: str, tenant: TenantTag, key: bytes) -> memoryview:
    """Returns the payload, without copying it.

    Args:
        data: The whole value.
        kind: What it must be.
        tenant: Whose it must be.
        key: Under which key it must have been sealed.

    Raises:
        CorruptValue: Unless all of it verifies.
    """
    body = memoryview(data)[HEADER_BYTES:]
    claims = data[: _CLAIMS.size]
    count = _tag_count(data)
    if count * TAG_BYTES > len(body) or claims != _claims(kind, tenant, key, len(body), count):
        raise CorruptValue(f"The header does not belong to this {kind}.")
    checksum = hashlib.sha256(claims)
    checksum.update(body)
    if not hmac.compare_digest(checksum.digest(), data[_CLAIMS.size : HEADER_BYTES]):
        raise CorruptValue(f"The checksum of the {kind} does not match.")
    return body[count * TAG_BYTES :]


def tags_of(head: bytes) -> tuple[PurgeTag, ...]:
    """Returns the purge tags of a value, of which the first HEAD_BYTES are enough; nothing of it is verified."""
    ends = range(HEADER_BYTES + TAG_BYTES, HEADER_BYTES + _tag_count(head) * TAG_BYTES + 1, TAG_BYTES)
    return tuple(PurgeTag(head[end - TAG_BYTES : end]) for end in ends if end <= len(head))


def _tag_count(head: bytes) -> int:
    return min(int(_TAG_COUNT.unpack_from(head)[0]), MAX_TAGS) if len(head) >= HEADER_BYTES else 0


def _claims(kind: str, tenant: TenantTag, key: bytes, body_bytes: int, tag_count: int) -> bytes:
    kind_field, tenant_field = kind.encode("ascii"), tenant.encode("ascii")
    if not 1 <= len(kind_field) <= 22 or len(tenant_field) != 16 or len(key) != 32 or tag_count > MAX_TAGS:
        raise ValueError(f"kind takes 1 to 22, tenant 16 and key 32 bytes, and a value {MAX_TAGS} tags.")
    return _CLAIMS.pack(_MAGIC, _FORMAT_VERSION, kind_field, tenant_field, key, body_bytes, tag_count)
