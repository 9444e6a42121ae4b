"""The client for asyncio; hilum.blocking_client has the one for everyone else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import grpc.aio

from hilum.automatic import GenerationCalls
from hilum.connection import PRIORITY_KEY, TENANT_KEY, Endpoints, Metadata, open_channel
from hilum.multimodal import FusionCalls
from hilum.patience import DEFAULT_ATTEMPTS, Patience
from hilum.secured_channel import TokenProvider
from hilum.tls import Tls

DEFAULT_TIMEOUT_S = 60.0


class AsyncClient(GenerationCalls, FusionCalls):
    """Talks to encoder, decoder and fusion; one per program, used by many tasks.

    Args:
        endpoints: Addresses; those of the environment, else loopback, where None.
        timeout_s: Deadline of every call.
        tenant: Sent as `x-hilum-tenant`; only services behind a trusted proxy read it.
        priority: Class of every call: "interactive" goes before "batch". None for what is usual for each.
        attempts: How often an overloaded service is asked, at the times it names and within the deadline; 1 to be told
            at once.
        tls: Certificates, for encrypted connections; None for plain ones. Files are read again when they change.
        token: Returns the caller's bearer token, called for every call; or a file that holds it, read again when it
            changes. None for none.
        channel: Opens a channel to an address, instead of `tls` and `token`; for interceptors and tests.

    Raises:
        OSError: A file cannot be read.
        ConfigurationError: A file does not hold what it should, or a token would travel without encryption.

    Example:
        async with AsyncClient() as client:
            prediction = await client.predict(image, [Prompt(box=Box(40, 60, 120, 150))])
    """

    def __init__(
        self,
        endpoints: Endpoints | None = None,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        tenant: str = "",
        priority: Literal["interactive", "batch"] | None = None,
        attempts: int = DEFAULT_ATTEMPTS,
        tls: Tls | None = None,
        token: TokenProvider | Path | None = None,
        channel: Callable[[str], grpc.aio.Channel] | None = None,
    ) -> None:
        channel = channel or partial(open_channel, tls=tls, token=token)
        where = endpoints or Endpoints.from_environment()
        named = ((TENANT_KEY, tenant), (PRIORITY_KEY, priority))
        metadata: Metadata = tuple((key, value) for key, value in named if value)
        self._channels = [channel(where.encoder), channel(where.decoder), channel(where.fusion)]
        encoder, decoder, fusion = self._channels
        patience = Patience(timeout_s, attempts)
        GenerationCalls.__init__(self, encoder, decoder, patience=patience, metadata=metadata)
        FusionCalls.__init__(self, fusion, patience=patience, metadata=metadata)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channels; calls still running fail."""
        for channel in self._channels:
            await channel.close()
