"""What all commands share: where the services are, who calls them, and how long a call may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import typer

from hilum.blocking_client import Client
from hilum.client import AsyncClient
from hilum.connection import Endpoints, open_channel
from hilum.tls import Tls


@dataclass(frozen=True)
class Session:
    """The global options.

    Attributes:
        endpoints: Addresses of the services.
        timeout_s: Deadline of every call.
        tls: Certificates; None for plain connections.
        token: A file that holds the caller's token; None for none.
    """

    endpoints: Endpoints
    timeout_s: float
    tls: Tls | None = None
    token: Path | None = None

    @classmethod
    def of(cls, context: typer.Context) -> Session:
        """Returns the session that the global options made."""
        session: Session = context.obj
        return session

    def client(self) -> Client:
        """Returns a client, to be used in a `with` block."""
        return Client(self.endpoints, timeout_s=self.timeout_s, tls=self.tls, token=self.token)

    def async_client(self) -> AsyncClient:
        """Returns a client for asyncio, to be used in an `async with` block."""
        return AsyncClient(self.endpoints, timeout_s=self.timeout_s, tls=self.tls, token=self.token)

    def channel(self, address: str) -> grpc.aio.Channel:
        """Returns a channel as the clients open theirs."""
        return open_channel(address, tls=self.tls, token=self.token)

    @property
    def connection(self) -> str:
        """How the services are reached and as whom, for people."""
        token = f"token from {self.token}" if self.token else "no token"
        if self.tls is None:
            return f"without encryption, {token}"
        certificate = f"client certificate {self.tls.certificate}" if self.tls.certificate else "no client certificate"
        return f"TLS, servers trusted by {self.tls.ca or 'public authorities'}, {certificate}, {token}"
