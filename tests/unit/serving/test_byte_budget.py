"""Bytes of requests are bounded: some are refused, streams wait their turn, nothing is lost."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import Overloaded
from hilum.serving.byte_budget import ByteBudget, HeldBytes
from hilum.serving.priority import Priority, prioritised

PATIENCE_S = 20


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_does_not_fit_is_refused_with_a_delay() -> None:
    """A request beyond the budget is told when to come back, and holds nothing."""
    budget = ByteBudget(100)
    with budget.held(70):
        with pytest.raises(Overloaded) as caught, budget.held(31):
            pass
        assert caught.value.retry_after_s
        with budget.held(30):
            assert budget.held_bytes == 100
    assert budget.held_bytes == 0


def test_an_idle_service_takes_everything() -> None:
    """What is larger than the whole budget is let in alone."""
    budget = ByteBudget(100)
    with budget.held(5000), pytest.raises(Overloaded), budget.held(1):
        pass


def test_batch_leaves_room() -> None:
    """Batch requests are refused where interactive ones still fit."""
    budget = ByteBudget(100)
    with budget.held(60):
        with prioritised(Priority.BATCH), pytest.raises(Overloaded), budget.held(20):
            pass
        with budget.held(20):
            assert budget.held_bytes == 80


async def test_streams_wait_in_turn() -> None:
    """Who waits is served in order, interactive streams first, and nobody small overtakes somebody large."""
    budget = ByteBudget(100)
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        held = await budget.take_in_turn(size)
        order.append(name)
        await asyncio.sleep(0)
        held.release()

    async with asyncio.timeout(PATIENCE_S):
        with budget.held(90):
            with prioritised(Priority.BATCH):
                tasks = [asyncio.create_task(take("large batch", 50)), asyncio.create_task(take("small batch", 1))]
            await _settle()
            tasks.append(asyncio.create_task(take("interactive", 20)))
            await _settle()
            assert order == []
        await asyncio.gather(*tasks)
    assert order == ["interactive", "large batch", "small batch"]
    assert budget.held_bytes == 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["take", "batch", "release", "cancel", "run"]), st.integers(0, 9), st.integers(1, 90)
        ),
        max_size=40,
    )
)
def test_no_sequence_loses_bytes(steps: list[tuple[str, int, int]]) -> None:
    """Whatever the order of taking, releasing and cancelling, the limit holds and in the end nothing is held."""
    asyncio.run(_play(ByteBudget(100), steps))


async def _play(budget: ByteBudget, steps: list[tuple[str, int, int]]) -> None:
    tasks: list[asyncio.Task[HeldBytes]] = []
    for action, number, size in steps:
        if action in {"take", "batch"}:
            with prioritised(Priority.BATCH if action == "batch" else Priority.INTERACTIVE):
                tasks.append(asyncio.create_task(budget.take_in_turn(size)))
        elif action == "run":
            await _settle()
        elif tasks and action == "cancel":
            tasks[number % len(tasks)].cancel()
        elif tasks:
            _release(tasks[number % len(tasks)])
        assert 0 <= budget.held_bytes <= budget.limit_bytes
    while tasks:
        await _settle()
        for task in [task for task in tasks if task.done()]:
            tasks.remove(task)
            _release(task)
    assert budget.held_bytes == 0


def _release(task: asyncio.Task[HeldBytes]) -> None:
    if task.done() and not task.cancelled():
        task.result().release()
