"""Computations that are done in steps, so that one whose caller has left is not gone on with."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

Step = TypeVar("Step")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Finished(Generic[Outcome]):
    """What all steps came to."""

    outcome: Outcome


def next_step(work: Generator[Step, None, Outcome]) -> Step | Finished[Outcome]:
    """Takes the next step of the work, for a thread: no StopIteration can leave one as such."""
    try:
        return next(work)
    except StopIteration as finished:
        return Finished(finished.value)
