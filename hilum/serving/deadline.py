"""The deadline of the call being handled, for what it asks of others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar

_deadline: ContextVar[float | None] = ContextVar("hilum_deadline", default=None)


def remaining_s() -> float | None:
    """Returns the time until the deadline of the call being handled; None outside a call, and for calls without one."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


@contextlib.contextmanager
def ending_in(seconds: float | None) -> Iterator[None]:
    """Makes this the time that is left, inside the block."""
    token = _deadline.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)
