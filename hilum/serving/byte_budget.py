"""Admission by bytes: requests that are held in memory take part of a budget."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator

from hilum.errors import Overloaded
from hilum.serving.priority import Priority, current_priority
from hilum.serving.telemetry import Telemetry

_RETRY_S = 0.5
# What batch requests leave to interactive ones, as a share of the budget.
_RESERVED = 0.25


class ByteBudget:
    """A bounded number of bytes of requests in one event loop.

    A request larger than the whole budget is let in when nothing else is held: what the service accepts at all, it
    accepts when it is idle.

    Args:
        limit_bytes: How many may be held.
        telemetry: Where the count is shown; None for nowhere.
    """

    def __init__(self, limit_bytes: int, *, telemetry: Telemetry | None = None) -> None:
        self.limit_bytes = limit_bytes
        self._telemetry = telemetry
        self._held_bytes = 0
        self._queues: dict[Priority, deque[tuple[asyncio.Future[None], int]]] = {each: deque() for each in Priority}

    @property
    def held_bytes(self) -> int:
        """Bytes held now."""
        return self._held_bytes

    @contextlib.contextmanager
    def held(self, size_bytes: int) -> Iterator[None]:
        """Holds bytes for the block.

        Raises:
            Overloaded: There is no room for them.
        """
        if not self._has_room(size_bytes, current_priority()):
            raise Overloaded(
                f"requests of {self._held_bytes} bytes are being handled; there is no room for {size_bytes} more",
                retry_after_s=_RETRY_S,
            )
        self._change(size_bytes)
        try:
            yield
        finally:
            self._give_back(size_bytes)

    async def take_in_turn(self, size_bytes: int) -> HeldBytes:
        """Returns held bytes, as soon as there is room; for streams, whose callers meanwhile cannot send more."""
        priority = current_priority()
        waiting = any(self._queues[ahead] for ahead in (Priority.INTERACTIVE, priority))
        if waiting or not self._has_room(size_bytes, priority):
            await self._turn(size_bytes, priority)
        else:
            self._change(size_bytes)
        return HeldBytes(self, size_bytes)

    async def _turn(self, size_bytes: int, priority: Priority) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (turn, size_bytes)
        self._queues[priority].append(entry)
        try:
            await turn  # _hand_on has taken the bytes for us
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):
                    self._queues[priority].remove(entry)
                self._hand_on()
            else:
                self._give_back(size_bytes)
            raise

    def _has_room(self, size_bytes: int, priority: Priority) -> bool:
        limit = self.limit_bytes
        if priority is Priority.BATCH:
            limit -= int(limit * _RESERVED)
        return not self._held_bytes or self._held_bytes + size_bytes <= limit

    def _give_back(self, size_bytes: int) -> None:
        self._change(-size_bytes)
        self._hand_on()

    def _hand_on(self) -> None:
        for priority, queue in self._queues.items():
            while queue and self._has_room(queue[0][1], priority):
                turn, wanted = queue.popleft()
                if not turn.done():  # a cancelled caller stays in the queue until its task has run
                    self._change(wanted)
                    turn.set_result(None)
            if queue:
                return

    def _change(self, size_bytes: int) -> None:
        self._held_bytes += size_bytes
        if self._telemetry is not None:
            self._telemetry.held_bytes(self._held_bytes)


class HeldBytes:
    """Bytes of a budget; give them back with `release`, once or more often."""

    def __init__(self, budget: ByteBudget, size_bytes: int) -> None:
        self._budget: ByteBudget | None = budget
        self._size_bytes = size_bytes

    def release(self) -> None:
        """Gives the bytes back; a second call does nothing."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget._give_back(self._size_bytes)  # the two halves of one class
