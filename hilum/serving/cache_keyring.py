"""Keys that encrypt cached values, from a file: the first encrypts, all decrypt, so that keys can be changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
KEY_ID_BYTES = 4


class CacheKeyring:
    """AES-256 keys by id.

    Args:
        keys: 32 bytes each; the first encrypts.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"At least one key is needed, each of {KEY_BYTES} bytes in hex.")
        self._ciphers = {key_id(key): AESGCM(key) for key in keys}
        if len(self._ciphers) != len(keys):
            raise ValueError("A key stands there twice.")
        self.current = key_id(keys[0])

    @classmethod
    def load(cls, path: Path) -> CacheKeyring:
        """Returns the keys of a file: one a line in hex, as `openssl rand -hex 32` prints; # begins a comment.

        Raises:
            ValueError: The file cannot be read, or a line is no key; its content is not quoted.
        """
        try:
            lines = [line.partition("#")[0].strip() for line in path.read_text("ascii").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read: {type(error).__name__}") from None
        try:
            return cls([bytes.fromhex(line) for line in lines if line])
        except ValueError:
            raise ValueError(
                f"{path}: give one key a line, 64 hex digits each and none twice, as `openssl rand -hex 32` prints"
            ) from None

    def cipher(self, identity: bytes) -> AESGCM | None:
        """Returns the cipher of a key's id, None where the key is not here."""
        return self._ciphers.get(identity)


def key_id(key: bytes) -> bytes:
    """Returns what names a key without telling it: 4 bytes of SHA-256("hilum.cache_key" NUL key)."""
    return hashlib.sha256(b"hilum.cache_key\0" + key).digest()[:KEY_ID_BYTES]
