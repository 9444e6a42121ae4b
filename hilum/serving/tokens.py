"""Signed tokens (JWT, RFC 7519) and what they say of a caller, by the rules of RFC 8725."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

from hilum.errors import Unauthenticated
from hilum.serving.identity import Identity, Role, known_roles
from hilum.serving.key_set import KeySet
from hilum.serving.tenant import is_tenant_name

# For clocks that differ, in seconds.
LEEWAY_S = 30
SERVICE_TOKEN_TYPE = "hilum-service+jwt"  # noqa: S105  # a name
SERVICE_PREFIX = "hilum/"

_DECODER: Any = jwt.PyJWT(options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True})


@dataclass(frozen=True)
class SignedToken:
    """A token of which nothing is verified yet.

    Attributes:
        text: As it was sent.
        is_of_service: Whether it says that a service of Hilum made it; it is then verified with the services' keys.
        key_id: Of the key that it says it is signed with.
    """

    text: str = field(repr=False)
    is_of_service: bool
    key_id: str | None

    @classmethod
    def parse(cls, text: str) -> SignedToken:
        """Reads the header; Unauthenticated where it is no signed token."""
        try:
            header: Mapping[str, Any] = jwt.get_unverified_header(text)
        except jwt.PyJWTError:
            raise Unauthenticated("the authorization is no signed token") from None
        return cls(text, header.get("typ") == SERVICE_TOKEN_TYPE, header.get("kid"))


class CallerTokens:
    """Tokens of an identity provider, about people and programs.

    Claims: `sub`, `tenant` (1 to 64 of a-z, 0-9 and -), `roles` (a list), `iss`, `aud`, `exp`, and `nbf` if any.

    Args:
        keys: The provider's public keys.
        issuer: The `iss` that it writes.
        audience: The `aud` that means this installation.
    """

    def __init__(self, keys: KeySet, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    def identify(self, token: SignedToken) -> Identity:
        """Returns who the token speaks of; Unauthenticated unless all of it verifies."""
        claims = _verified(token, self._keys, audience=self._audience, issuer=self._issuer)
        return _identity(claims)


class ServiceTokens:
    """Tokens that Hilum's services make of a caller they have admitted; see OnBehalf.

    Args:
        keys: The services' public keys.
        audience: Name of the service that is called, such as "hilum/encoder".
    """

    def __init__(self, keys: KeySet, *, audience: str) -> None:
        self._keys = keys
        self._audience = audience

    def identify(self, token: SignedToken) -> Identity:
        """Returns on whose behalf the service calls, with the role of a service added; or Unauthenticated."""
        claims = _verified(token, self._keys, audience=self._audience, issuer=None)
        issuer = str(claims["iss"])
        if not issuer.startswith(SERVICE_PREFIX):
            raise Unauthenticated("the token was not made by a service of Hilum")
        return _identity(claims, service=issuer)


def _verified(token: SignedToken, keys: KeySet, *, audience: str, issuer: str | None) -> Mapping[str, Any]:
    key = keys.key(token.key_id)
    try:
        claims: Mapping[str, Any] = _DECODER.decode(
            token.text,
            key,
            # The key's own algorithm, which is one of the list: never the one that the token asks for.
            algorithms=[key.algorithm_name],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_S,
        )
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("the token has expired; get a new one") from None
    except jwt.ImmatureSignatureError:
        raise Unauthenticated("the token is not valid yet; are both clocks right?") from None
    except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
        raise Unauthenticated("the token was made by somebody else, or for somebody else") from None
    except jwt.MissingRequiredClaimError as error:
        raise Unauthenticated(f"the token lacks the claim {error.claim}") from None
    except jwt.PyJWTError:
        raise Unauthenticated("the token is not valid; get a new one") from None
    return claims


def _identity(claims: Mapping[str, Any], *, service: str = "") -> Identity:
    tenant, roles = claims.get("tenant"), claims.get("roles", [])
    if not isinstance(tenant, str) or not is_tenant_name(tenant):
        raise Unauthenticated("the token's claim tenant must be 1 to 64 of the characters a-z, 0-9 and -")
    if not isinstance(roles, list):
        raise Unauthenticated("the token's claim roles must be a list")
    granted = known_roles(roles) | ({Role.SERVICE} if service else frozenset())
    return Identity(str(claims["sub"]), tenant, granted, service)
