"""Who goes first: a person who waits for an outline, or a program that encodes a study ahead."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from enum import Enum

from hilum.connection import PRIORITY_KEY
from hilum.errors import InvalidField


class Priority(Enum):
    """Class of a call; the first goes before the second wherever calls wait."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


# Calls that a program makes for later, or that take long, unless the caller says otherwise.
_BATCH_METHODS = frozenset({"/hilum.v1.EncoderService/EncodeImages", "/hilum.v1.DecoderService/GenerateMasks"})

_current_priority: ContextVar[Priority] = ContextVar("hilum_priority", default=Priority.INTERACTIVE)


def priority_of(method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Priority:
    """Returns the class of a call: what `x-hilum-priority` says, else what is usual for the method.

    Args:
        method: Full name, such as "/hilum.v1.EncoderService/EncodeImages".
        metadata: The call's invocation metadata as (key, value) pairs.

    Raises:
        InvalidField: The header has another value, or several.
    """
    named = {value for key, value in metadata if key == PRIORITY_KEY}
    if not named:
        return Priority.BATCH if method in _BATCH_METHODS else Priority.INTERACTIVE
    for priority in Priority:
        if named == {priority.value}:
            return priority
    raise InvalidField("must be interactive or batch", field=PRIORITY_KEY)


def current_priority() -> Priority:
    """Returns the class of the call being handled, INTERACTIVE outside a call."""
    return _current_priority.get()


@contextlib.contextmanager
def prioritised(priority: Priority) -> Iterator[None]:
    """Makes this the current class inside the block."""
    token = _current_priority.set(priority)
    try:
        yield
    finally:
        _current_priority.reset(token)
