"""A ValueCache whose values are encrypted, by AES-256-GCM (NIST SP 800-38D).

Layout, little-endian, 128 bytes, then the purge tags as in sealed_value.py, then the ciphertext with its 16 byte tag::

    offset  size  field
         0     8  magic, "HILUMENC"
         8     4  id of the key
        12    12  nonce, random
        24    64  zeros
        88     2  number of purge tags
        90    38  zeros

The plaintext is the sealed value. Associated data are kind, tenant tag and id, so that a value moved elsewhere does not
decrypt, and everything before the ciphertext. With random nonces a key serves for 2^32 values.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Collection

from cryptography.exceptions import InvalidTag

from hilum.serving.cache import ValueCache
from hilum.serving.cache_keyring import CacheKeyring
from hilum.serving.purge_tag import TAG_BYTES
from hilum.serving.sealed_value import HEADER_BYTES, tags_of
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import TenantTag

_MAGIC = b"HILUMENC"
_HEADER = struct.Struct("<8s4s12s64xH38x")
_NONCE_BYTES = 12


class EncryptedCache:
    """Encrypts what it puts into another cache. What does not decrypt is counted as "undecryptable" and is a miss.

    Values that are not encrypted are not believed, either: whoever can write to the cache has no key.

    Args:
        cache: Where encrypted values are kept.
        keyring: The keys.
        kind: Kind of the values, such as "embedding".
        telemetry: Where events are counted.
    """

    def __init__(self, cache: ValueCache, keyring: CacheKeyring, *, kind: str, telemetry: Telemetry) -> None:
        self._cache = cache
        self._keyring = keyring
        self._kind = kind
        self._telemetry = telemetry

    async def get(self, tenant: TenantTag, key: bytes) -> bytes | None:
        """Returns the value, or None; see ValueCache."""
        data = await self._cache.get(tenant, key)
        if data is None:
            return None
        value = await asyncio.to_thread(self._decrypted, data, self._place(tenant, key))
        if value is None:
            self._telemetry.cache_event(self._kind, "undecryptable")
        return value

    async def put(self, tenant: TenantTag, key: bytes, value: bytes, *, age_s: float = 0.0) -> None:
        """Keeps the value if it can; see ValueCache."""
        data = await asyncio.to_thread(self._encrypted, value, self._place(tenant, key))
        await self._cache.put(tenant, key, data, age_s=age_s)

    async def missing(self, tenant: TenantTag, keys: Collection[bytes]) -> set[bytes]:
        """Returns the keys without a value; whether the others decrypt is not known. See ValueCache."""
        return await self._cache.missing(tenant, keys)

    async def ping(self) -> bool:
        """Returns whether the cache answers."""
        return await self._cache.ping()

    async def close(self) -> None:
        """Closes the cache."""
        await self._cache.close()

    def _place(self, tenant: TenantTag, key: bytes) -> bytes:
        return f"{self._kind}\0{tenant}\0".encode("ascii") + key

    def _encrypted(self, value: bytes, place: bytes) -> bytes:
        tags = tags_of(value)
        nonce = os.urandom(_NONCE_BYTES)
        head = _HEADER.pack(_MAGIC, self._keyring.current, nonce, len(tags)) + b"".join(tags)
        cipher = self._keyring.cipher(self._keyring.current)
        if cipher is None:
            raise KeyError("the keyring lacks its own current key")
        return head + cipher.encrypt(nonce, value, place + head)

    def _decrypted(self, data: bytes, place: bytes) -> bytes | None:
        if len(data) < HEADER_BYTES:
            return None
        magic, identity, nonce, count = _HEADER.unpack_from(data)
        cipher = self._keyring.cipher(identity)
        if magic != _MAGIC or cipher is None:
            return None
        begin = HEADER_BYTES + count * TAG_BYTES
        try:
            return cipher.decrypt(nonce, data[begin:], place + data[:begin])
        except InvalidTag:
            return None
