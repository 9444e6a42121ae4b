"""How a service calls another one for its caller: a token of one minute, signed with the service's own key."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hilum.errors import ConfigurationError
from hilum.serving.identity import current_identity
from hilum.serving.key_set import public_jwk
from hilum.serving.tokens import SERVICE_PREFIX, SERVICE_TOKEN_TYPE
from hilum.watched_files import WatchedFiles

# Long enough to reach another service in the next moment; that service judges it when the call arrives.
LIFETIME_S = 60


class OnBehalf:
    """Makes the tokens with which a service passes its caller's identity on.

    They carry the caller's subject, tenant and roles, so that what is stored for the caller stays the caller's.

    Args:
        key_file: An Ed25519 private key, PEM; read again when it changes.
        service: Name of the service that calls, such as "fusion".
        refused: Told why a new version of the file is not used.

    Raises:
        ConfigurationError: The file cannot be read or holds no such key.
    """

    def __init__(self, key_file: Path, service: str, *, refused: Callable[[Exception], None] | None = None) -> None:
        self._issuer = SERVICE_PREFIX + service
        try:
            self._key = WatchedFiles([key_file], _read, refused=refused)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the service key {key_file} cannot be used: {error}") from None

    def token(self, audience: str) -> str:
        """Returns a token about whoever made the RPC being handled, for a service such as "encoder".

        Raises:
            LookupError: Outside an RPC: there is nobody to act for.
        """
        identity, now = current_identity(), int(time.time())
        key, key_id = self._key.current()
        claims = {
            "iss": self._issuer,
            "aud": SERVICE_PREFIX + audience,
            "sub": identity.subject,
            "tenant": identity.tenant,
            "roles": sorted(role.value for role in identity.roles),
            "iat": now,
            "exp": now + LIFETIME_S,
        }
        return jwt.encode(claims, key, algorithm="EdDSA", headers={"typ": SERVICE_TOKEN_TYPE, "kid": key_id})


def _read(contents: Sequence[bytes]) -> tuple[Ed25519PrivateKey, str]:
    try:
        key = load_pem_private_key(contents[0], password=None)
    except TypeError:
        raise ValueError("it is encrypted with a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("it must be an Ed25519 private key, as `openssl genpkey -algorithm ed25519` makes one")  # noqa: TRY004  # of a file
    return key, public_jwk(key.public_key())["kid"]
