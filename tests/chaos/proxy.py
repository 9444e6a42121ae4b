"""A TCP proxy that is slow or cuts connections when it is told to."""

from __future__ import annotations

import asyncio
import contextlib


class Proxy:
    """Stands before a server on loopback.

    Args:
        target: The server's port.

    Attributes:
        delay_s: How long every piece of the server's answers is held back.
        cut_after: Connections end after so many bytes of answers; None for never.
        port: Where it listens, once started.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.delay_s = 0.0
        self.cut_after: int | None = None
        self.port = 0
        self._server: asyncio.Server | None = None
        self._relaying: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Ends all connections."""
        if self._server is not None:
            self._server.close()
        for task in self._relaying:
            task.cancel()
        await asyncio.gather(*self._relaying, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relaying.add(task)
        task.add_done_callback(self._relaying.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            relays = [
                asyncio.ensure_future(self._relay(reader, back, answers=False)),
                asyncio.ensure_future(self._relay(there, writer, answers=True)),
            ]
            try:
                await asyncio.wait(relays, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for relay in relays:
                    relay.cancel()
                back.close()
        writer.close()

    async def _relay(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while piece := await source.read(1 << 16):
                if answers:
                    await asyncio.sleep(self.delay_s)
                    passed += len(piece)
                    if self.cut_after is not None and passed > self.cut_after:
                        return
                sink.write(piece)
                await sink.drain()
