"""What a fault is, and what is reported of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.stack import Stack, Tally


@dataclass(frozen=True)
class Observation:
    """What happened under a fault.

    Attributes:
        tally: What became of all questions, during the fault and afterwards.
        recovered_s: From the end of the fault until the service was whole again; None where it never was not.
        note: What else was seen, in a few words.
    """

    tally: Tally
    recovered_s: float | None
    note: str = ""


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        name: What is done, in a few words.
        run: Does it to a stack, asks questions, undoes it, and returns what it saw.
        allowed: Typed errors that callers may see; none where every question must be answered.
        quick: Part of the subset that CI runs.
    """

    name: str
    run: Callable[[Stack], Awaitable[Observation]]
    allowed: tuple[str, ...] = ()
    quick: bool = False

    def complaints(self, seen: Observation) -> list[str]:
        """Returns what is not as promised."""
        tally = seen.tally
        found = [f"{tally.wrong} wrong masks"] if tally.wrong else []
        found += [f"lost: {', '.join(tally.lost)}"] if tally.lost else []
        unexpected = sorted(set(tally.refused) - set(self.allowed))
        found += [f"refused: {', '.join(unexpected)}"] if unexpected else []
        return found + ([] if tally.right else ["nothing was answered"])
