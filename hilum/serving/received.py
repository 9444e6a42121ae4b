"""What callers send: bytes become messages, take their place in memory, and are not waited for forever."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Any

from google.protobuf.message import DecodeError

from hilum.errors import DeadlineExceeded, InvalidField
from hilum.serving.byte_budget import ByteBudget
from hilum.serving.telemetry import RpcFacts

_SMALL_BYTES = 16 * 1024

Deserialise = Callable[[bytes], Any]


class Receiving:
    """Receives what callers send, for all calls of a server.

    Args:
        budget: What the bytes of unary requests are taken from. Of a stream one message at a time is held here; methods
            that keep more take it from the budget themselves.
        stall_s: How long a stream waits for its caller to send the next message, or to take one.
    """

    def __init__(self, budget: ByteBudget, stall_s: float) -> None:
        self._budget = budget
        self._stall_s = stall_s

    @contextlib.contextmanager
    def one(self, data: bytes, deserialise: Deserialise, facts: RpcFacts) -> Iterator[Any]:
        """Yields the request; its bytes are held for the block.

        Raises:
            InvalidField: The bytes are no such message.
            Overloaded: There is no room for them.
        """
        # What is small is not worth refusing; among it are the probes that decide whether the server lives.
        with self._budget.held(len(data)) if len(data) > _SMALL_BYTES else contextlib.nullcontext():
            yield _parsed(data, deserialise, facts)

    async def each(self, received: Any, deserialise: Deserialise, facts: RpcFacts) -> AsyncGenerator[Any, None]:
        """Yields the requests of a stream.

        Raises:
            InvalidField: Bytes are no such message.
            DeadlineExceeded: The next message did not come in time.
        """
        stream = aiter(received)
        while True:
            async with self.unstalled("sends nothing"):
                data = await anext(stream, None)
            if data is None:
                return
            facts.count("requests")
            yield _parsed(data, deserialise, facts)

    @contextlib.asynccontextmanager
    async def unstalled(self, fault: str) -> AsyncIterator[None]:
        """Raises DeadlineExceeded when the block, which waits for the caller, takes too long."""
        try:
            async with asyncio.timeout(self._stall_s):
                yield
        except TimeoutError:
            raise DeadlineExceeded(f"the caller {fault} for {self._stall_s:g} s; open the stream again") from None


def _parsed(data: bytes, deserialise: Deserialise, facts: RpcFacts) -> Any:
    facts.count("request_bytes", len(data))
    try:
        return deserialise(data)
    except DecodeError:
        raise InvalidField("the bytes are no message of this method's request type") from None
