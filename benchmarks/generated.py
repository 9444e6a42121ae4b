"""What a computation that is done in steps comes to."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Outcome = TypeVar("Outcome")


def outcome_of(work: Generator[object, None, Outcome]) -> Outcome:
    """Takes all steps; returns what the generator returns."""
    while True:
        try:
            next(work)
        except StopIteration as finished:
            outcome: Outcome = finished.value
            return outcome
