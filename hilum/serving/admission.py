"""Whether a call is let in, and as whom: decided before its handler runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

from hilum.errors import PermissionDenied, Unauthenticated
from hilum.serving.client_certificates import ClientCertificates
from hilum.serving.identity import Identity
from hilum.serving.key_set import KeySet
from hilum.serving.policy import Policy
from hilum.serving.security_settings import SecuritySettings
from hilum.serving.telemetry import Telemetry
from hilum.serving.tenant import DefaultTenant, MetadataTenant, TenantResolver
from hilum.serving.tokens import SERVICE_PREFIX, CallerTokens, ServiceTokens, SignedToken

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
# As grpc's ServicerContext.auth_context gives it.
Peer: TypeAlias = Mapping[str, Iterable[bytes]]

# Called by probes and tools, for no tenant.
INFRASTRUCTURE = ("/grpc.health.", "/grpc.reflection.")

_AUTHORIZATION = "authorization"
_SCHEME = "bearer "
_ALTERNATIVE_NAMES = "x509_subject_alternative_name"
_IS_CERTIFIED = "x509_common_name"


class Admission(Protocol):
    """Lets calls in."""

    def identify(self, method: str, metadata: Metadata, peer: Peer) -> Identity | None:
        """Returns who is calling; None for methods that need nobody.

        Args:
            method: Path, such as "/hilum.v1.EncoderService/EncodeImage".
            metadata: The call's invocation metadata.
            peer: What the TLS layer verified of the connection's other end.

        Raises:
            InvalidField: A header that names the caller's tenant is missing or malformed.
            Unauthenticated: It is not known who is calling.
        """
        ...

    def authorise(self, method: str, identity: Identity) -> None:
        """Returns if the caller may call the method.

        Raises:
            PermissionDenied: It may not.
        """
        ...


class TrustedNetwork:
    """Lets everybody in, for whatever tenant the resolver says: one institution, or a proxy that authenticates.

    Args:
        tenants: Says for whom a call is made.
    """

    def __init__(self, tenants: TenantResolver) -> None:
        self._tenants = tenants

    def identify(self, method: str, metadata: Metadata, peer: Peer) -> Identity | None:
        """Returns an identity without subject and roles; see Admission."""
        del peer
        return None if method.startswith(INFRASTRUCTURE) else Identity("", self._tenants.resolve(metadata))

    def authorise(self, method: str, identity: Identity) -> None:
        """Allows everything."""


class AccessControl:
    """Establishes who is calling, and asks the policy.

    A token counts before a certificate: behind a proxy the certificate is the proxy's, and the token its caller's.

    Args:
        policy: Which roles may call what.
        callers: Verifies an identity provider's tokens; None where none are taken.
        services: Verifies tokens of Hilum's other services; None where none are taken.
    """

    def __init__(
        self, policy: Policy, *, callers: CallerTokens | None = None, services: ServiceTokens | None = None
    ) -> None:
        self._policy = policy
        self._callers = callers
        self._services = services
        self._certificates = ClientCertificates(policy.certificates)

    def identify(self, method: str, metadata: Metadata, peer: Peer) -> Identity | None:
        """Returns who is calling; see Admission."""
        if method in self._policy.open_methods:
            return None
        headers = [value for key, value in metadata if key == _AUTHORIZATION]
        if len(headers) > 1:
            raise Unauthenticated("there must be one authorization header, not several")
        if headers:
            return self._of_token(headers[0])
        if _IS_CERTIFIED in peer or _ALTERNATIVE_NAMES in peer:
            names = [name.decode("utf-8", "replace") for name in peer.get(_ALTERNATIVE_NAMES, ())]
            return self._certificates.identify(names)
        raise Unauthenticated("send a token (authorization: Bearer ...), or call with a client certificate")

    def authorise(self, method: str, identity: Identity) -> None:
        """Asks the policy; see Admission."""
        allowed = self._policy.roles.get(method, frozenset())
        if not identity.roles & allowed:
            needed, has = (", ".join(sorted(role.value for role in roles)) for roles in (allowed, identity.roles))
            raise PermissionDenied(f"this needs one of the roles: {needed or 'none'}; the caller has: {has or 'none'}")

    def _of_token(self, header: str | bytes) -> Identity:
        if not isinstance(header, str) or not header.lower().startswith(_SCHEME):
            raise Unauthenticated("the authorization must be a bearer token")
        token = SignedToken.parse(header[len(_SCHEME) :].strip())
        verifier = self._services if token.is_of_service else self._callers
        if verifier is None:
            raise Unauthenticated("tokens of this kind are not taken here")
        return verifier.identify(token)


def admission_from(settings: SecuritySettings, telemetry: Telemetry) -> Admission:
    """Returns what the settings say.

    Args:
        settings: Where identities come from.
        telemetry: Of the server; names it, and hears of files that are of no use.

    Raises:
        ConfigurationError: A key set or the policy cannot be used.
    """
    if settings.tenant_source != "identity":
        return TrustedNetwork(MetadataTenant() if settings.tenant_source == "metadata" else DefaultTenant())
    callers = services = None
    if settings.jwks is not None:
        keys = KeySet(settings.jwks, refused=telemetry.file_refused("jwks"))
        callers = CallerTokens(keys, issuer=settings.jwt_issuer, audience=settings.jwt_audience)
    if settings.service_jwks is not None:
        keys = KeySet(settings.service_jwks, refused=telemetry.file_refused("service_jwks"))
        services = ServiceTokens(keys, audience=SERVICE_PREFIX + telemetry.service)
    return AccessControl(Policy.load(settings.policy), callers=callers, services=services)
