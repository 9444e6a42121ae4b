"""Work that is done in steps."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from services.fusion.stepping import Finished, Work, finished, next_step, reporting


def _counting(steps: int) -> Generator[int, None, str]:
    yield from range(steps)
    return "counted"


@pytest.mark.parametrize("steps", [0, 2])
def test_steps_then_the_outcome(steps: int) -> None:
    """Each call takes one step; the one after the last tells what they came to."""
    work = _counting(steps)
    assert [next_step(work) for _ in range(steps + 1)] == [*range(steps), Finished("counted")]


def _working(steps: int) -> Work[str]:
    for _ in range(steps):
        yield
    return "worked"


def test_work_within_work() -> None:
    """Work of many pieces is told of after each of them, and comes to what it comes to."""
    work = reporting("at it", _working(3))
    assert [next_step(work) for _ in range(4)] == ["at it"] * 3 + [Finished("worked")]
    assert finished(reporting("at it", _working(3))) == "worked"
