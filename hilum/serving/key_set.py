"""Public keys that tokens are verified with: a JWKS file (RFC 7517), read again when it changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jwt.algorithms import OKPAlgorithm
from jwt.utils import base64url_encode

from hilum.errors import ConfigurationError, Unauthenticated
from hilum.watched_files import WatchedFiles

# Signatures only: with "none" or a shared secret whoever verifies tokens, or nobody at all, could make them.
ALGORITHMS = ("RS256", "ES256", "EdDSA")


class KeySet:
    """The keys of a JWKS file.

    Args:
        path: The file.
        refused: Told why a new version of the file is not used.

    Raises:
        ConfigurationError: The file cannot be read or holds no key for signatures of RS256, ES256 or EdDSA.
    """

    def __init__(self, path: Path, *, refused: Callable[[Exception], None] | None = None) -> None:
        try:
            self._keys = WatchedFiles([path], _read, refused=refused)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the key set {path} cannot be used: {error}") from None

    def key(self, key_id: str | None) -> jwt.PyJWK:
        """Returns the key of this id, or the only one where a token names none.

        Raises:
            Unauthenticated: There is no such key, or no longer.
        """
        keys = self._keys.current()
        if key_id is None and len(keys) == 1:
            return next(iter(keys.values()))
        if key_id is None or key_id not in keys:
            raise Unauthenticated("the token is signed with a key that is not trusted here; get a new token")
        return keys[key_id]


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """Returns an Ed25519 public key as a JWK whose id is its thumbprint (RFC 7638)."""
    jwk: dict[str, str] = OKPAlgorithm.to_jwk(key, as_dict=True)
    required = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"), sort_keys=True)
    thumbprint = base64url_encode(hashlib.sha256(required.encode()).digest()).decode()
    return {**{name: jwk[name] for name in ("crv", "kty", "x")}, "alg": "EdDSA", "use": "sig", "kid": thumbprint}


def _read(contents: Sequence[bytes]) -> Mapping[str, jwt.PyJWK]:
    document: Any = json.loads(contents[0])
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ValueError('it is no JWKS: an object with a list "keys"')  # noqa: TRY004  # of a file, not of a type
    keys = {}
    for entry in entries:
        key = _usable(entry)
        if key is not None:
            keys[key.key_id or ""] = key
    if not keys:
        raise ValueError(f"it holds no public key for {', '.join(ALGORITHMS)}")
    return keys


def _usable(entry: Any) -> jwt.PyJWK | None:
    """Returns the key of an entry; None for those of other purposes, which identity providers list as well."""
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or entry.get("kty") == "oct" or "d" in entry:
        return None
    try:
        key = jwt.PyJWK.from_dict(entry)
    except (jwt.PyJWKError, jwt.InvalidKeyError):
        return None
    return key if key.algorithm_name in ALGORITHMS else None
