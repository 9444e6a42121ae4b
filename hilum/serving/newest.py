"""Work that does not wait for whoever reads, or asks, more slowly or faster than it goes: the newest counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Newest(Generic[T]):
    """A place for one value: a newer one replaces it."""

    def __init__(self) -> None:
        self._values: list[T] = []
        self._superseded = 0
        self._closed = False
        self._changed = asyncio.Event()

    def put(self, value: T) -> None:
        """Leaves a value in place of one that nobody has taken."""
        self._superseded += len(self._values)
        self._values = [value]
        self._changed.set()

    def close(self) -> None:
        """Says that no other value will come."""
        self._closed = True
        self._changed.set()

    async def take(self) -> tuple[T, int] | None:
        """Waits for a value; returns it and how many it replaced since the last was taken, None after the last."""
        while not self._values and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        if not self._values:
            return None
        value, superseded = self._values.pop(), self._superseded
        self._superseded = 0
        return value, superseded


async def unhindered(events: AsyncGenerator[T, None], replaceable: type[Any]) -> AsyncGenerator[T, None]:
    """Yields events of work that goes on while the reader is slow, so that nothing it holds is held for the reader.

    Args:
        events: The work; it goes on in a task of its own, which ends when this generator is closed.
        replaceable: Of events such as progress, whose place the next one takes.
    """
    waiting: list[T] = []
    changed = asyncio.Event()
    ended = False

    async def work() -> None:
        nonlocal ended
        try:
            async with aclosing(events):
                async for event in events:
                    if waiting and isinstance(waiting[-1], replaceable):
                        waiting.pop()
                    waiting.append(event)
                    changed.set()
        finally:
            ended = True
            changed.set()

    task = asyncio.create_task(work())
    try:
        while True:
            while waiting:
                yield waiting.pop(0)
            if ended:
                break
            await changed.wait()
            changed.clear()
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
