"""Computations that are done in steps, so that one whose caller has left is not gone on with."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

Step = TypeVar("Step")
Outcome = TypeVar("Outcome")

Work: TypeAlias = Generator[None, None, Outcome]
"""Yields after each piece of work; returns what it came to."""


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


def finished(work: Generator[Step, None, Outcome]) -> Outcome:
    """Takes all steps; returns what they came to."""
    while True:
        step = next_step(work)
        if isinstance(step, Finished):
            return step.outcome


def reporting(event: Step, work: Work[Outcome]) -> Generator[Step, None, Outcome]:
    """Yields the event after each piece of the work; returns what it came to."""
    while True:
        step = next_step(work)
        if isinstance(step, Finished):
            return step.outcome
        yield event
