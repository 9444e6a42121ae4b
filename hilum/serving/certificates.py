"""The certificate that a server shows, and the authorities whose clients it takes: renewed without a restart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import grpc

from hilum.errors import ConfigurationError
from hilum.serving.telemetry import Telemetry
from hilum.tls import check_authorities, check_pair
from hilum.watched_files import WatchedFiles


class ServerCertificates:
    """A server's PEM files; each handshake uses them as they are then. Connections that exist go on.

    Args:
        certificate: The server's certificate chain.
        key: Its private key.
        client_ca: Authorities whose clients are let in; None where clients need no certificate.
        telemetry: Where renewals are logged, and files that are of no use.

    Raises:
        ConfigurationError: The files are of no use now.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None, telemetry: Telemetry) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._log = telemetry.log
        paths = [certificate, key] if client_ca is None else [certificate, key, client_ca]
        try:
            self._files = WatchedFiles(paths, self._read, refused=telemetry.file_refused("certificates"))
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"TLS cannot be set up: {error}") from None
        self._served = self._files.current()

    def credentials(self) -> grpc.ServerCredentials:
        """Returns credentials that follow the files."""
        return grpc.dynamic_ssl_server_credentials(
            self._served,
            self._renewed,  # type: ignore[arg-type]  # None stands for no change; the stubs do not know
            require_client_authentication=self._client_ca is not None,
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Returns the configuration if it is another one; called by gRPC at every handshake."""
        newest = self._files.current()
        if newest is self._served:
            return None
        self._served = newest
        self._log.info("certificates_renewed")
        return newest

    def _read(self, contents: Sequence[bytes]) -> grpc.ServerCertificateConfiguration:
        check_pair(self._certificate, self._key)
        certificate, key, *client_ca = contents
        for authorities in client_ca:
            check_authorities(authorities)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], *client_ca)
