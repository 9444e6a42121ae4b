"""A circuit breaker: after failures in a row, leave a dependency alone for a while, then try it with one call."""

from __future__ import annotations

import time
from collections.abc import Callable


class Circuit:
    """Closed (calls pass), open (none do), or half open (one probe does), in one event loop.

    Whoever is let through by `allows` reports exactly one of `succeeded`, `failed` and `abandoned`.

    Args:
        failures: Consecutive failures that open the circuit.
        open_s: How long it stays open before one call may probe, in seconds.
        clock: Monotonic time in seconds.
    """

    def __init__(self, failures: int = 3, open_s: float = 2.0, clock: Callable[[], float] = time.monotonic) -> None:
        if failures < 1:
            raise ValueError(f"failures must be at least 1, got {failures}.")
        self._limit = failures
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether calls are being refused, but for a probe."""
        return self._opened_at is not None

    def allows(self) -> bool:
        """Says whether a call may be made now; in an open circuit that is the probe, once per `open_s`."""
        if self._opened_at is None:
            return True
        if self._probing or self._clock() - self._opened_at < self._open_s:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        """The call was answered: closes the circuit."""
        self._failures = 0
        self._opened_at = None
        self._probing = False

    def failed(self) -> None:
        """The call was not answered in time, or wrongly: opens the circuit after enough of them."""
        self._failures += 1
        self._probing = False
        if self._failures >= self._limit:
            self._opened_at = self._clock()

    def abandoned(self) -> None:
        """The caller went away before the call ended: nothing was learnt, and another call may probe."""
        self._probing = False
