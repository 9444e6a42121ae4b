"""What servers are told about certificates, identities and secrets."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class SecuritySettings(BaseSettings):
    """The part of ServiceSettings that guards a server. All files are read again when they change, but the policy.

    Attributes:
        host: Address to listen on.
        allow_insecure: Listen beyond loopback, and let tokens travel, without TLS: where a mesh encrypts.
        tls_certificate: The server's certificate chain, PEM; unset for no TLS. Also shown to services it calls.
        tls_key: Its private key, PEM.
        tls_client_ca: Authorities of clients, PEM; set, every client needs a certificate.
        upstream_ca: Authorities of the services that this one calls, PEM; unset for plain connections.
        tenant_source: "default": all callers are one tenant. "metadata": x-hilum-tenant, set by a trusted proxy.
            "identity": the caller's token or certificate, and the policy says who may call what.
        jwks: Public keys of the identity provider, a JWKS file.
        jwt_issuer: The `iss` of its tokens.
        jwt_audience: The `aud` of its tokens.
        policy: Roles per method, TOML; unset for the built-in one.
        service_key: Ed25519 private key, PEM, with which this service acts on behalf of its callers.
        service_jwks: Public keys of the services that may do so here, a JWKS file.
        redis_password_file: Password of the user in HILUM_REDIS_URL; read at every new connection.
        redis_ca: Authorities of a Redis at rediss://, PEM; unset for the machine's own.
    """

    model_config = SettingsConfigDict(env_prefix="HILUM_", frozen=True, env_ignore_empty=True, extra="forbid")

    host: str = "127.0.0.1"
    allow_insecure: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    upstream_ca: Path | None = None
    tenant_source: Literal["default", "metadata", "identity"] = "default"
    jwks: Path | None = None
    jwt_issuer: str = Field(default="", max_length=256)
    jwt_audience: str = Field(default="", max_length=256)
    policy: Path | None = None
    service_key: Path | None = None
    service_jwks: Path | None = None
    redis_password_file: Path | None = None
    redis_ca: Path | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("HILUM_TLS_CERTIFICATE and HILUM_TLS_KEY go together")
        if self.tls_client_ca is not None and self.tls_certificate is None:
            raise ValueError("HILUM_TLS_CLIENT_CA needs HILUM_TLS_CERTIFICATE and HILUM_TLS_KEY")
        if self.tls_certificate is None and not self.is_loopback and not self.allow_insecure:
            raise ValueError(
                "HILUM_HOST is not loopback and there is no TLS: set HILUM_TLS_CERTIFICATE and HILUM_TLS_KEY, or "
                "HILUM_ALLOW_INSECURE=1 if something else encrypts"
            )
        if self.jwks is not None and not (self.jwt_issuer and self.jwt_audience):
            raise ValueError("HILUM_JWKS needs HILUM_JWT_ISSUER and HILUM_JWT_AUDIENCE")
        if self.tenant_source == "identity" and self.jwks is None and self.tls_client_ca is None:
            raise ValueError("HILUM_TENANT_SOURCE=identity needs HILUM_JWKS, HILUM_TLS_CLIENT_CA, or both")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
