"""How long calls may take, and how often a service that is overloaded, or was lost amid its answer, is asked again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from hilum.connection import CutOff, answered
from hilum.errors import DeadlineExceeded, Overloaded

Answer = TypeVar("Answer")

DEFAULT_ATTEMPTS = 6
# Whoever is refused again comes back after twice the time: the load falls until it fits.
_LONGER = 2.0
# Callers that were refused together do not come back together; never earlier than the service said.
_JITTER = 0.5


@dataclass(frozen=True)
class Patience:
    """What a client waits for.

    Attributes:
        timeout_s: Deadline of one call, all attempts together.
        attempts: How often a service that is overloaded, or was lost amid its answer, is asked, the first time
            included; 1 for no second time.
        remaining_s: Time until a deadline that no call may outlive, None without one: for services that ask on behalf
            of a caller.
    """

    timeout_s: float
    attempts: int = DEFAULT_ATTEMPTS
    remaining_s: Callable[[], float | None] = lambda: None

    def limit_s(self, calls: int = 1) -> float:
        """Returns the deadline of a call that does the work of several.

        Raises:
            DeadlineExceeded: There is no time left.
        """
        limit, remaining = self.timeout_s * calls, self.remaining_s()
        if remaining is None:
            return limit
        if remaining <= 0:
            raise DeadlineExceeded("the caller's deadline has passed")
        return min(limit, remaining)

    async def answered(self, ask: Callable[[float], Awaitable[Answer]], *, calls: int = 1) -> Answer:
        """Returns a call's answer, within the deadline.

        A service that is overloaded is asked again when it says so; one that was lost amid a stream, at once.

        Args:
            ask: Makes the call with a deadline in seconds; the request must bear being sent twice.
            calls: How many calls' work it does; see `limit_s`.

        Raises:
            HilumError: What the service answered, at last.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + self.limit_s(calls)
        attempt = 1
        while True:
            try:
                return await answered(ask(deadline - now()))
            except (Overloaded, CutOff) as refusal:
                # Without a delay it is gRPC that refuses, such as a message too large: it would do so again.
                if refusal.retry_after_s is None or attempt >= self.attempts:
                    raise
                longer = _LONGER ** (attempt - 1) * random.uniform(1, 1 + _JITTER)  # noqa: S311 - no secret
                delay_s = refusal.retry_after_s * longer
                if now() + delay_s >= deadline:
                    raise
            await asyncio.sleep(delay_s)
            attempt += 1
