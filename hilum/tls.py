"""TLS of a client: whom it trusts, and the certificate that says who it is."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from hilum.watched_files import WatchedFiles


@dataclass(frozen=True)
class Tls:
    """Files that make a channel encrypted; all PEM, read again when they change.

    Attributes:
        ca: Certificates that servers' certificates must lead to; None for the public ones that gRPC brings.
        certificate: The client's own certificate chain, for mutual TLS; None for none.
        key: Its private key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a client certificate and its key go together: give both or neither")

    def credentials(self) -> WatchedFiles[grpc.ChannelCredentials]:
        """Returns the channel credentials of the files.

        Raises:
            OSError: A file cannot be read.
            ValueError: A file is no PEM, or the key is not the certificate's.
        """
        named = {"ca": self.ca, "certificate": self.certificate, "key": self.key}
        paths = {name: path for name, path in named.items() if path is not None}

        def read(contents: Sequence[bytes]) -> grpc.ChannelCredentials:
            found = dict(zip(paths, contents, strict=True))
            if "ca" in found:
                check_authorities(found["ca"])
            if self.certificate is not None and self.key is not None:
                check_pair(self.certificate, self.key)
            return grpc.ssl_channel_credentials(found.get("ca"), found.get("key"), found.get("certificate"))

        return WatchedFiles(list(paths.values()), read)


def check_authorities(pem: bytes) -> None:
    """Raises ValueError unless the PEM holds certificates of authorities."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise ValueError("the file of certificate authorities holds no certificates in PEM form") from None


def check_pair(certificate: Path, key: Path) -> None:
    """Raises ValueError unless both are PEM and the key is the certificate's; gRPC would say so in its log only."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError:
        raise ValueError(f"{certificate.name} and {key.name} are no certificate and its key in PEM form") from None


def _no_password() -> str:
    """Keeps OpenSSL from asking the terminal for the password of an encrypted key, which is of no use here."""
    return ""
