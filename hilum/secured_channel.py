"""A channel whose certificates and token are those of the moment, however long it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc
import grpc.aio

from hilum.watched_files import WatchedFiles

AUTHORIZATION_KEY = "authorization"

TokenProvider: TypeAlias = Callable[[], str]
Opener: TypeAlias = Callable[[grpc.ChannelCredentials | None], grpc.aio.Channel]


@dataclass(eq=False)
class _Opened:
    """A channel and the calls that run over it."""

    channel: grpc.aio.Channel
    credentials: grpc.ChannelCredentials | None
    calls: int = 0
    retired: bool = False


class SecuredChannel(grpc.aio.Channel):
    """Opens a channel anew when its credentials change, and puts a bearer token on every call.

    gRPC reads certificates once per channel. Calls that run go on over the channel they began on, which is closed after
    the last of them.

    Args:
        opener: Opens a channel with credentials, without encryption where None.
        credentials: Those of the moment; None for no encryption.
        token: Returns the token of a call, without "Bearer "; called for every call, so that it must be quick. None for
            no token.
    """

    def __init__(
        self, opener: Opener, *, credentials: WatchedFiles[grpc.ChannelCredentials] | None, token: TokenProvider | None
    ) -> None:
        self._opener = opener
        self._credentials = credentials
        self._token = token
        self._open = self._opened()
        self._retired: set[_Opened] = set()
        self._closing: set[Any] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Closes what is open; calls still running may go on for `grace` seconds."""
        for opened in (self._open, *self._retired):
            await opened.channel.close(grace)
        await asyncio.gather(*self._closing)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """See grpc.aio.Channel."""
        return self._newest().channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See grpc.aio.Channel."""
        await self._newest().channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See grpc.aio.Channel."""
        await self._newest().channel.channel_ready()

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._multi_callable("unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._multi_callable("unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._multi_callable("stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._multi_callable("stream_stream", arguments, options)

    def _multi_callable(self, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Callable[..., Any]:
        def call(*requests: Any, metadata: Any = None, **details: Any) -> Any:
            opened = self._newest()
            metadata = [*(metadata or ())]
            if self._token is not None:
                metadata.append((AUTHORIZATION_KEY, f"Bearer {self._token()}"))
            started = getattr(opened.channel, kind)(*arguments, **options)(*requests, metadata=metadata, **details)
            opened.calls += 1
            started.add_done_callback(lambda _: self._ended(opened))
            return started

        return call

    def _newest(self) -> _Opened:
        credentials = None if self._credentials is None else self._credentials.current()
        if credentials is not self._open.credentials:
            former, self._open = self._open, self._opened()
            former.retired = True
            self._retired.add(former)
            self._close_idle(former)
        return self._open

    def _opened(self) -> _Opened:
        credentials = None if self._credentials is None else self._credentials.current()
        return _Opened(self._opener(credentials), credentials)

    def _ended(self, opened: _Opened) -> None:
        opened.calls -= 1
        self._close_idle(opened)

    def _close_idle(self, opened: _Opened) -> None:
        if opened.retired and not opened.calls and opened in self._retired:
            self._retired.remove(opened)
            closing = asyncio.get_running_loop().create_task(opened.channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
