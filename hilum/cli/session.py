"""What all commands share: where the services are, and how long a call may take."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from hilum.client import Client
from hilum.connection import Endpoints


@dataclass(frozen=True)
class Session:
    """The global options.

    Attributes:
        endpoints: Addresses of the services.
        timeout_s: Deadline of every call.
    """

    endpoints: Endpoints
    timeout_s: float

    @classmethod
    def of(cls, context: typer.Context) -> Session:
        """Returns the session that the global options made."""
        session: Session = context.obj
        return session

    def client(self) -> Client:
        """Returns a client, to be used in a `with` block."""
        return Client(self.endpoints, timeout_s=self.timeout_s)
