import asyncio
import contextvars
import io
import threading
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilum.errors import Overloaded
from hilum.serving.overload import ComputePool, Permit, Permits
from hilum.serving.priority import Priority, Urgency, prioritised
from hilum.serving.telemetry import Telemetry

# Long enough for any machine; nothing here waits for it unless it fails.
PATIENCE_S = 30


async def _settle() -> None:
    """Lets every task run until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_running_and_waiting_are_bounded() -> None:
    """The caller after the last waiting place is refused at once, with a delay and the overload reason."""
    permits = Permits(running=2, waiting=1)
    held = [await permits.take() for _ in range(2)]
    waiter = asyncio.create_task(permits.take())
    await _settle()
    assert (permits.running, permits.waiting) == (2, 1)
    with pytest.raises(Overloaded) as caught:
        await permits.take()
    assert caught.value.retry_after_s is not None
    held[0].release()
    (await waiter).release()
    held[1].release()
    assert (permits.running, permits.waiting) == (0, 0)


async def test_first_come_first_served() -> None:
    """Waiting callers are served in order, and a newcomer does not overtake them."""
    permits = Permits(running=1, waiting=3)
    order: list[int] = []

    async def work(number: int) -> None:
        async with permits.acquire():
            order.append(number)

    async with asyncio.timeout(PATIENCE_S), permits.acquire():
        tasks = [asyncio.create_task(work(number)) for number in range(3)]
        await _settle()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2]


async def test_interactive_goes_before_batch() -> None:
    """However long batch callers have waited, an interactive one is served next; within a class the order stays."""
    permits = Permits(running=1, waiting=4)
    order: list[str] = []

    async def work(name: str, priority: Priority) -> None:
        with prioritised(priority):
            async with permits.acquire():
                order.append(name)

    async with asyncio.timeout(PATIENCE_S), permits.acquire():
        tasks = [asyncio.create_task(work(f"batch {number}", Priority.BATCH)) for number in range(2)]
        await _settle()
        tasks += [asyncio.create_task(work(f"click {number}", Priority.INTERACTIVE)) for number in range(2)]
        await _settle()
    await asyncio.gather(*tasks)
    assert order == ["click 0", "click 1", "batch 0", "batch 1"]


async def test_batch_leaves_permits_free() -> None:
    """Batch callers wait, and are refused, while the reserved permit is free: a click takes it at once."""
    permits = Permits(running=3, waiting=1, reserved=1)
    with prioritised(Priority.BATCH):
        held = [await permits.take() for _ in range(2)]
        waiting = asyncio.create_task(permits.take())
        await _settle()
        with pytest.raises(Overloaded):
            permits.refuse_if_full()
    permits.refuse_if_full()
    click = await permits.take()
    click.release()
    await _settle()
    assert not waiting.done()
    held[0].release()
    (await waiting).release()
    held[1].release()
    assert (permits.running, permits.waiting) == (0, 0)


async def test_work_that_becomes_urgent_goes_first() -> None:
    """Batch work that somebody interactive now waits for leaves its place for one among the interactive."""
    permits = Permits(running=2, waiting=4, reserved=1)
    order: list[str] = []

    async def work(name: str) -> None:
        async with permits.acquire():
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE_S):
        with prioritised(Priority.BATCH):
            held = await permits.take()
            first = asyncio.create_task(work("first"))
        with prioritised(Priority.BATCH) as urgency:
            second = asyncio.create_task(work("second"))
        await _settle()
        assert permits.waiting == 2
        urgency.raise_to(Priority.INTERACTIVE)
        await second
        held.release()
        await first
    assert order == ["second", "first"]
    assert (permits.running, permits.waiting) == (0, 0)


async def test_waiting_places_are_apart() -> None:
    """Batch callers that fill their places take none from interactive ones."""
    permits = Permits(running=1, waiting=1)
    async with permits.acquire():
        with prioritised(Priority.BATCH):
            batch = asyncio.create_task(permits.take())
        click = asyncio.create_task(permits.take())
        await _settle()
        assert permits.waiting == 2
    (await click).release()
    (await batch).release()


async def test_an_error_gives_the_permit_back() -> None:
    """Work that raises frees its permit."""
    permits = Permits(running=1, waiting=0)
    with pytest.raises(KeyError):
        async with permits.acquire():
            raise KeyError
    assert permits.running == 0


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    """A waiting caller that is cancelled frees its place and takes nothing."""
    permits = Permits(running=1, waiting=1)
    async with permits.acquire():
        waiter = asyncio.create_task(permits.take())
        await _settle()
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        assert permits.waiting == 0
    assert permits.running == 0


@pytest.mark.parametrize("release_first", [True, False])
async def test_cancellation_at_the_moment_of_handing_over(release_first: bool) -> None:
    """A caller cancelled just when it is given the permit passes it on: permits are never lost."""
    permits = Permits(running=1, waiting=2)
    held = await permits.take()
    first, second = asyncio.create_task(permits.take()), asyncio.create_task(permits.take())
    await _settle()
    for step in (held.release, first.cancel)[:: 1 if release_first else -1]:
        step()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(first, return_exceptions=True)
        (await second).release()
    assert (permits.running, permits.waiting) == (0, 0)


ACTIONS = ("take", "batch", "raise", "release", "cancel", "run")


@settings(deadline=None)
@given(
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 2),
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9)), max_size=40),
)
def test_no_sequence_loses_or_invents_permits(
    running: int, waiting: int, reserved: int, steps: list[tuple[str, int]]
) -> None:
    """Whatever the order of taking, releasing and cancelling, limits hold and in the end nothing is in use."""
    asyncio.run(_play(Permits(running, waiting, reserved=min(reserved, running - 1)), steps))


async def _play(permits: Permits, steps: list[tuple[str, int]]) -> None:
    tasks: list[asyncio.Task[Permit]] = []
    urgencies: list[Urgency] = []
    for action, number in steps:
        if action == "take":
            tasks.append(asyncio.create_task(permits.take()))
        elif action == "batch":
            with prioritised(Priority.BATCH) as begun:
                tasks.append(asyncio.create_task(permits.take()))
                urgencies.append(begun)
        elif action == "run":
            await _settle()
        elif tasks and action == "cancel":
            tasks[number % len(tasks)].cancel()
        elif urgencies and action == "raise":
            urgencies[number % len(urgencies)].raise_to(Priority.INTERACTIVE)
        elif tasks:
            _release_if_given(tasks[number % len(tasks)])
        assert permits.running <= permits.limit_running
        assert permits.waiting <= 2 * permits.limit_waiting
    while tasks:
        await _settle()
        for task in [task for task in tasks if task.done()]:
            tasks.remove(task)
            _release_if_given(task)
    assert (permits.running, permits.waiting) == (0, 0)


def _release_if_given(task: asyncio.Task[Permit]) -> None:
    if task.done() and not task.cancelled() and not task.exception():
        task.result().release()


async def test_releasing_twice_frees_one_permit() -> None:
    """A second release of the same permit does nothing."""
    permits = Permits(running=2, waiting=0)
    one, _ = await permits.take(), await permits.take()
    one.release()
    one.release()
    assert permits.running == 1


async def test_the_delay_is_bounded_and_grows_with_the_queue() -> None:
    """Callers are told to come back later the longer the queue is, within bounds, and sooner once work proved short."""
    permits = Permits(running=1, waiting=2)
    unknown = permits.retry_after_s()
    async with permits.acquire():
        pass
    assert 0 < permits.retry_after_s() < unknown
    held = await permits.take()
    permits = Permits(running=1, waiting=100)
    held = await permits.take()
    tasks = [asyncio.create_task(permits.take()) for _ in range(100)]
    await _settle()
    assert unknown < permits.retry_after_s() <= 30
    for task in tasks:
        task.cancel()
    held.release()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_permits_need_sensible_limits() -> None:
    """Limits under which nothing could run are refused."""
    with pytest.raises(ValueError, match="running"):
        Permits(0, 1)
    with pytest.raises(ValueError, match="reserved"):
        Permits(2, 1, reserved=2)


@pytest.fixture
async def pool() -> AsyncIterator[ComputePool]:
    """One thread, one waiting place."""
    pool = ComputePool(1, 1, name="test", telemetry=Telemetry("test", stream=io.StringIO()))
    yield pool
    await pool.close()


async def test_pool_returns_values_and_raises_errors(pool: ComputePool) -> None:
    """Results and exceptions of the work reach the caller, with positional and named arguments passed on."""
    assert await pool.run(divmod, 7, 2) == (3, 1)
    assert await pool.run(int, "ff", base=16) == 255
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 1, 0)
    assert pool.permits.running == 0


async def test_pool_work_sees_the_callers_context(pool: ComputePool) -> None:
    """Tenant and request record, which are context variables, are there in the thread."""
    word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")
    word.set("mine")
    assert await pool.run(word.get) == "mine"


class Work:
    """Work that says when it starts and ends when told."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.runs = 0
        self._loop = asyncio.get_running_loop()
        self.started = asyncio.Event()

    def __call__(self) -> int:
        """Runs until `may_end`."""
        self.runs += 1
        self._loop.call_soon_threadsafe(self.started.set)
        assert self.may_end.wait(PATIENCE_S)
        return self.runs


async def test_a_cancelled_caller_leaves_but_its_thread_keeps_the_permit(pool: ComputePool) -> None:
    """Work in a thread cannot be stopped, so its permit stays taken until the thread really ends."""
    work = Work()
    caller = asyncio.create_task(pool.run(work))
    async with asyncio.timeout(PATIENCE_S):
        await work.started.wait()
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert caller.cancelled()
        assert pool.permits.running == 1
        next_caller = asyncio.create_task(pool.run(lambda: "next"))
        await _settle()
        assert not next_caller.done()
        work.may_end.set()
        assert await next_caller == "next"
    assert pool.permits.running == 0


async def test_work_that_has_not_started_is_dropped(pool: ComputePool) -> None:
    """Waiting work of a cancelled caller never runs."""
    first, dropped = Work(), Work()
    running = asyncio.create_task(pool.run(first))
    async with asyncio.timeout(PATIENCE_S):
        await first.started.wait()
        waiting = asyncio.create_task(pool.run(dropped))
        await _settle()
        with pytest.raises(Overloaded):
            await pool.run(int)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        first.may_end.set()
        assert await running == 1
    await pool.close()
    assert dropped.runs == 0
    assert pool.permits.running == 0


async def test_pool_shows_its_permits() -> None:
    """The number of permits in use is a metric."""
    telemetry = Telemetry("test", stream=io.StringIO())
    pool = ComputePool(2, 0, name="decode", telemetry=telemetry)
    work = Work()
    caller = asyncio.create_task(pool.run(work))
    async with asyncio.timeout(PATIENCE_S):
        await work.started.wait()
        assert telemetry.value("hilum_permits", pool="decode", state="running") == 1
        work.may_end.set()
        await caller
    assert telemetry.value("hilum_permits", pool="decode", state="running") == 0
    await pool.close()
