"""Who goes first: a person who waits for an outline, or a program that encodes a study ahead."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
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


class Urgency:
    """The class of a piece of work, which rises when somebody more urgent joins those who wait for it.

    Attributes:
        priority: The class now.
    """

    def __init__(self, priority: Priority) -> None:
        self.priority = priority
        self._raised: list[Callable[[], None]] = []

    def raise_to(self, priority: Priority) -> None:
        """Makes the work at least this urgent."""
        if priority is Priority.INTERACTIVE and self.priority is not priority:
            self.priority = priority
            for raised in self._raised:
                raised()

    @contextlib.contextmanager
    def heeded_by(self, raised: Callable[[], None]) -> Iterator[None]:
        """Calls `raised`, inside the block, when the class rises."""
        self._raised.append(raised)
        try:
            yield
        finally:
            self._raised.remove(raised)


_current: ContextVar[Urgency] = ContextVar("hilum_urgency", default=Urgency(Priority.INTERACTIVE))  # noqa: B039 - it is at the top, and cannot rise


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
    return _current.get().priority


def current_urgency() -> Urgency:
    """Returns the urgency of what is being done."""
    return _current.get()


@contextlib.contextmanager
def prioritised(priority: Priority) -> Iterator[Urgency]:
    """Makes what is done inside the block a piece of work of this class; yields its urgency."""
    urgency = Urgency(priority)
    token = _current.set(urgency)
    try:
        yield urgency
    finally:
        _current.reset(token)
