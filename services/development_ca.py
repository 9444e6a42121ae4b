"""Makes everything that TLS and identities need on one machine: `python -m services.development_ca DIR`.

An authority (ca.pem), certificates of the services and of one client per role, the key set of a make-believe identity
provider (jwks.json) with one token per role (annotator.jwt ...), the services' own keys (service-jwks.json), and the
key of embedding ids. All for the tenant "development", valid for 30 days, and for nothing but trying things out: real
installations have an authority and an identity provider of their own (docs/how-to/secure-a-deployment.md).
"""

from __future__ import annotations

import argparse
import datetime as dt
import ipaddress
import json
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hilum.serving.identity import Role
from hilum.serving.key_set import public_jwk

TENANT = "development"
ISSUER = "https://identity.hilum.invalid"
AUDIENCE = "hilum"
DAYS = 30
SERVICES = ("encoder", "decoder", "fusion")


@dataclass(frozen=True)
class Issued:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The key, not encrypted."""
        return private_pem(self.key)


def new_authority(name: str = "Hilum development authority") -> Issued:
    """Returns a certificate that may sign others."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = _builder(subject, subject, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    return Issued(builder.add_extension(usage, True).sign(key, SHA256()), key)


def issue(authority: Issued, name: str, alternative_names: Sequence[x509.GeneralName]) -> Issued:
    """Returns a certificate for a server or client, signed by an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, authority.certificate.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.SubjectAlternativeName(alternative_names), False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    )
    return Issued(builder.sign(authority.key, SHA256()), key)


def issue_server(authority: Issued, name: str) -> Issued:
    """Returns a certificate of this machine."""
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    return issue(authority, name, [x509.DNSName("localhost"), *addresses])


def issue_client(authority: Issued, role: str, *, tenant: str = TENANT) -> Issued:
    """Returns a client's certificate, whose SPIFFE id says tenant and role."""
    identifier = f"spiffe://hilum.invalid/tenant/{tenant}/role/{role}/{role}"
    return issue(authority, role, [x509.UniformResourceIdentifier(identifier)])


def caller_token(
    key: ed25519.Ed25519PrivateKey,
    *roles: str,
    tenant: str = TENANT,
    lifetime_s: float = DAYS * 86400,
    **claims: object,
) -> str:
    """Returns a token as the identity provider would make it; `claims` replace others."""
    now = int(time.time())
    told: dict[str, object] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "-".join(roles) or "nobody"}
    told |= {"tenant": tenant, "roles": list(roles), "iat": now, "exp": int(now + lifetime_s), **claims}
    return jwt.encode(told, key, algorithm="EdDSA", headers={"kid": public_jwk(key.public_key())["kid"]})


def key_set(*keys: ed25519.Ed25519PrivateKey) -> bytes:
    """Returns the JWKS of some keys' public halves."""
    return json.dumps({"keys": [public_jwk(key.public_key()) for key in keys]}, indent=1).encode()


def private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """Returns a private key as PEM, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def create(folder: Path) -> None:
    """Fills a new folder that only this user can read.

    Raises:
        OSError: It exists, or cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True)
    authority = new_authority()
    files = {"ca.pem": authority.certificate_pem, "ca-key.pem": authority.key_pem}
    provider = ed25519.Ed25519PrivateKey.generate()
    service_keys = {name: ed25519.Ed25519PrivateKey.generate() for name in SERVICES}
    issued = {name: issue_server(authority, name) for name in SERVICES}
    issued |= {role.value + "-client": issue_client(authority, role.value) for role in Role}
    for name, certified in issued.items():
        files |= {f"{name}.pem": certified.certificate_pem, f"{name}-key.pem": certified.key_pem}
    files |= {f"{role.value}.jwt": caller_token(provider, role.value).encode() for role in Role}
    files |= {f"{name}-service-key.pem": private_pem(key) for name, key in service_keys.items()}
    files |= {
        "jwt-key.pem": private_pem(provider),
        "jwks.json": key_set(provider),
        "service-jwks.json": key_set(*service_keys.values()),
        "embedding-key": secrets.token_hex(32).encode(),
    }
    for name, content in files.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)


def service_environment(folder: Path, service: str) -> Mapping[str, str]:
    """Returns the settings with which a service uses such a folder."""
    return {
        "HILUM_TLS_CERTIFICATE": str(folder / f"{service}.pem"),
        "HILUM_TLS_KEY": str(folder / f"{service}-key.pem"),
        "HILUM_TLS_CLIENT_CA": str(folder / "ca.pem"),
        "HILUM_UPSTREAM_CA": str(folder / "ca.pem"),
        "HILUM_TENANT_SOURCE": "identity",
        "HILUM_JWKS": str(folder / "jwks.json"),
        "HILUM_JWT_ISSUER": ISSUER,
        "HILUM_JWT_AUDIENCE": AUDIENCE,
        "HILUM_SERVICE_KEY": str(folder / f"{service}-service-key.pem"),
        "HILUM_SERVICE_JWKS": str(folder / "service-jwks.json"),
        "HILUM_EMBEDDING_KEY_FILE": str(folder / "embedding-key"),
    }


def client_environment(folder: Path, role: str = "annotator") -> Mapping[str, str]:
    """Returns the variables with which the command line calls such services."""
    return {
        "HILUM_CA": str(folder / "ca.pem"),
        "HILUM_CERTIFICATE": str(folder / f"{role}-client.pem"),
        "HILUM_KEY": str(folder / f"{role}-client-key.pem"),
        "HILUM_TOKEN_FILE": str(folder / f"{role}.jwt"),
    }


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=DAYS))
    )


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder that does not exist yet")
    folder: Path = parser.parse_args().folder.absolute()
    try:
        create(folder)
    except OSError as error:
        sys.stderr.write(f"{folder}: {error.strerror}\n")
        return 1
    exports = "".join(f"export {name}={value}\n" for name, value in client_environment(folder).items())
    sys.stdout.write(f"# python -m services --secure {folder}\n{exports}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
