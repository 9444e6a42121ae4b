"""Where audit messages go: a file, or a syslog server over TLS."""

from __future__ import annotations

import os
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

SYSLOG_SCHEME = "syslog-tls"
# RFC 5424: facility 10 (security), severity 5 (notice); DICOM PS3.15 A.6 names the message id.
_PRIORITY = 85
_MESSAGE_ID = "DICOM+RFC3881"
_SYSLOG_TLS_PORT = 6514
_TIMEOUT_S = 5.0


class AuditSink(Protocol):
    """Takes messages, one at a time, from one thread."""

    def write(self, message: bytes) -> None:
        """Delivers one message; OSError where it could not, and the same message is tried again."""
        ...

    def close(self) -> None:
        """Lets go of what it holds."""
        ...


class AuditFile:
    """Appends messages to a file, one a line; several processes may share it.

    Args:
        path: The file, made where it is not there, readable by its owner and group alone.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def write(self, message: bytes) -> None:
        """Appends one line, in one call, so that lines of several processes do not mix."""
        line = message + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError("the line was cut short")

    def close(self) -> None:
        """Sees to it that all lines are on the disk."""
        os.fsync(self._descriptor)
        os.close(self._descriptor)


class SyslogTls:
    """Sends messages to a syslog server: RFC 5424 messages, framed as RFC 5425 says, over TLS.

    Args:
        host: The server; its certificate must be for this name.
        port: Its port.
        ca: File of certificates that are trusted; those of the system where None.
    """

    def __init__(self, host: str, port: int, ca: Path | None) -> None:
        self._host = host
        self._port = port
        self._context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._connection: ssl.SSLSocket | None = None

    def write(self, message: bytes) -> None:
        """Sends one message, over a new connection where there is none."""
        try:
            self._connected().sendall(self._framed(message))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Ends the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> ssl.SSLSocket:
        if self._connection is None:
            plain = socket.create_connection((self._host, self._port), _TIMEOUT_S)
            self._connection = self._context.wrap_socket(plain, server_hostname=self._host)
        return self._connection

    def _framed(self, message: bytes) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        header = f"<{_PRIORITY}>1 {now} {socket.gethostname()} hilum {os.getpid()} {_MESSAGE_ID} - "
        whole = header.encode("ascii") + b"\xef\xbb\xbf" + message
        return f"{len(whole)} ".encode("ascii") + whole


def audit_sink(where: str, ca: Path | None) -> AuditSink:
    """Returns the sink that a setting names: a file's path, or syslog-tls://host[:port].

    Raises:
        OSError: The file cannot be opened, or the certificates cannot be read.
        ValueError: The address is malformed.
    """
    address = urlsplit(where)
    if address.scheme != SYSLOG_SCHEME:
        return AuditFile(Path(where))
    if not address.hostname:
        raise ValueError(f"give {SYSLOG_SCHEME}://host:port")
    return SyslogTls(address.hostname, address.port or _SYSLOG_TLS_PORT, ca)
