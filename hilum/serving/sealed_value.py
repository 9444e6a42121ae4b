"""The envelope of everything kept in a shared cache: what it is, whose it is, and that it is whole.

Layout, little-endian, 128 bytes, then the payload::

    offset  size  field
         0     8  magic, "HILUMVAL"
         8     2  format version, unsigned, now 1
        10    22  kind, ASCII, padded with zeros, such as "embedding"
        32    16  tenant tag, ASCII
        48    32  key (SHA-256 or HMAC-SHA-256)
        80     8  length of the payload in bytes, unsigned
        88     8  zeros
        96    32  SHA-256 of bytes 0..95 and the payload

The checksum finds damage, not malice: who can write to the cache can write valid values. Nothing in it is code.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from hilum.serving.tenant import TenantTag

HEADER_BYTES = 128

_MAGIC = b"HILUMVAL"
_FORMAT_VERSION = 1
_CLAIMS = struct.Struct("<8sH22s16s32sQ8x")
_CHECKSUM_BYTES = 32


class CorruptValue(Exception):
    """A cached value is damaged, of another format, or not what it was looked up as."""


def seal(kind: str, tenant: TenantTag, key: bytes, *payload: bytes | memoryview) -> bytes:
    """Returns the envelope around a payload given in parts.

    Args:
        kind: 1 to 22 ASCII characters.
        tenant: Tag of the tenant, 16 ASCII characters.
        key: 32 bytes.
        payload: C-contiguous buffers; the payload is their concatenation.
    """
    claims = _claims(kind, tenant, key, sum(memoryview(part).nbytes for part in payload))
    checksum = hashlib.sha256(claims)
    for part in payload:
        checksum.update(part)
    return b"".join((claims, checksum.digest(), *(memoryview(part).cast("B") for part in payload)))


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
    payload = memoryview(data)[HEADER_BYTES:]
    claims = data[: _CLAIMS.size]
    if claims != _claims(kind, tenant, key, len(payload)):
        raise CorruptValue(f"The header does not belong to this {kind}.")
    checksum = hashlib.sha256(claims)
    checksum.update(payload)
    if not hmac.compare_digest(checksum.digest(), data[_CLAIMS.size : HEADER_BYTES]):
        raise CorruptValue(f"The checksum of the {kind} does not match.")
    return payload


def _claims(kind: str, tenant: TenantTag, key: bytes, payload_bytes: int) -> bytes:
    kind_field, tenant_field = kind.encode("ascii"), tenant.encode("ascii")
    if not 1 <= len(kind_field) <= 22 or len(tenant_field) != 16 or len(key) != 32:
        raise ValueError("kind takes 1 to 22, tenant 16 and key 32 bytes.")
    return _CLAIMS.pack(_MAGIC, _FORMAT_VERSION, kind_field, tenant_field, key, payload_bytes)
