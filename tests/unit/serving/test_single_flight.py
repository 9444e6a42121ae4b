import asyncio

import pytest

from hilum.serving.priority import Priority, Urgency, current_urgency, prioritised
from hilum.serving.single_flight import SingleFlight
from hilum.serving.telemetry import recording_facts
from hilum.serving.tenant import tenant_tag

KEY = (tenant_tag("a"), bytes(32))
PATIENCE_S = 30


class Encoding:
    """A computation that ends when told, and the place where its value is then found."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.may_end = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.error: Exception | None = None
        self.runs = 0
        self.stored: str | None = None

    async def lookup(self) -> str | None:
        """Returns what is stored."""
        return self.stored

    async def compute(self) -> str:
        """Waits, then stores a value that tells how often it ran."""
        self.runs += 1
        self.started.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.error is not None:
            raise self.error
        self.stored = f"value {self.runs}"
        return self.stored


async def _callers(flight: SingleFlight, encoding: Encoding, number: int) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(flight.once(KEY, encoding.lookup, encoding.compute)) for _ in range(number)]
    await encoding.started.wait()
    return tasks


async def test_callers_at_the_same_time_share_one_computation() -> None:
    """Many callers for one key cause one computation, and all get its value."""
    flight, encoding = SingleFlight(), Encoding()
    async with asyncio.timeout(PATIENCE_S):
        tasks = await _callers(flight, encoding, 20)
        encoding.may_end.set()
        assert await asyncio.gather(*tasks) == ["value 1"] * 20
    assert encoding.runs == 1


async def test_what_is_there_is_not_computed() -> None:
    """A value that is found needs no computation."""
    flight, encoding = SingleFlight(), Encoding()
    encoding.stored = "found"
    assert await flight.once(KEY, encoding.lookup, encoding.compute) == "found"
    assert encoding.runs == 0


async def test_keys_and_tenants_do_not_share() -> None:
    """The same id of another tenant, and another id, are other computations."""
    flight = SingleFlight()
    keys = [KEY, (tenant_tag("b"), KEY[1]), (KEY[0], bytes([1] * 32))]
    encodings = [Encoding() for _ in keys]
    for encoding in encodings:
        encoding.may_end.set()
    await asyncio.gather(*(flight.once(k, e.lookup, e.compute) for k, e in zip(keys, encodings, strict=True)))
    assert [encoding.runs for encoding in encodings] == [1, 1, 1]


async def test_a_cancelled_caller_does_not_take_the_others_along() -> None:
    """When one caller leaves, even the first, the others still get the value."""
    flight, encoding = SingleFlight(), Encoding()
    async with asyncio.timeout(PATIENCE_S):
        tasks = await _callers(flight, encoding, 3)
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        encoding.may_end.set()
        assert await asyncio.gather(*tasks[1:]) == ["value 1"] * 2
    assert tasks[0].cancelled()
    assert not encoding.cancelled.is_set()


async def test_the_computation_stops_when_the_last_caller_leaves() -> None:
    """Work that nobody waits for is cancelled, and the next caller starts anew."""
    flight, encoding = SingleFlight(), Encoding()
    async with asyncio.timeout(PATIENCE_S):
        tasks = await _callers(flight, encoding, 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await encoding.cancelled.wait()
        encoding.may_end.set()
        assert await flight.once(KEY, encoding.lookup, encoding.compute) == "value 2"


async def test_a_new_caller_does_not_join_a_cancelled_computation() -> None:
    """A caller that comes right after the last one left is not cancelled with the old computation."""
    flight, encoding = SingleFlight(), Encoding()
    async with asyncio.timeout(PATIENCE_S):
        (task,) = await _callers(flight, encoding, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        encoding.may_end.set()
        assert await flight.once(KEY, encoding.lookup, encoding.compute) == "value 2"


async def test_an_error_reaches_every_caller_and_is_not_kept() -> None:
    """All waiting callers get the error; a later caller tries again."""
    flight, encoding = SingleFlight(), Encoding()
    encoding.error = RuntimeError("no luck")
    async with asyncio.timeout(PATIENCE_S):
        tasks = await _callers(flight, encoding, 3)
        encoding.may_end.set()
        assert await asyncio.gather(*tasks, return_exceptions=True) == [encoding.error] * 3
        encoding.error = None
        assert await flight.once(KEY, encoding.lookup, encoding.compute) == "value 2"


async def test_joining_is_noted_on_the_request() -> None:
    """A caller that waited for another's computation says so on its log line; the computing one does not."""
    flight, encoding = SingleFlight(), Encoding()

    async def call() -> dict[str, object]:
        with recording_facts() as facts:
            await flight.once(KEY, encoding.lookup, encoding.compute)
            return dict(facts.as_dict())

    async with asyncio.timeout(PATIENCE_S):
        tasks = [asyncio.create_task(call()) for _ in range(2)]
        await encoding.started.wait()
        encoding.may_end.set()
        assert await asyncio.gather(*tasks) == [{}, {"joined_flight": True}]


@pytest.mark.parametrize("rounds", [3])
async def test_one_value_after_the_other(rounds: int) -> None:
    """A finished flight leaves nothing behind: the next caller looks up and computes for itself."""
    flight, encoding = SingleFlight(), Encoding()
    encoding.may_end.set()
    for number in range(1, rounds + 1):
        encoding.stored = None
        assert await flight.once(KEY, encoding.lookup, encoding.compute) == f"value {number}"


async def test_what_a_click_waits_for_is_interactive() -> None:
    """Batch work that an interactive caller joins becomes urgent; the rest of the batch caller's call does not."""
    flight, encoding = SingleFlight(), Encoding()
    seen: list[Urgency] = []

    async def compute() -> str:
        seen.append(current_urgency())
        return await encoding.compute()

    async with asyncio.timeout(PATIENCE_S):
        with prioritised(Priority.BATCH) as series:
            first = asyncio.create_task(flight.once(KEY, encoding.lookup, compute))
        await encoding.started.wait()
        assert [urgency.priority for urgency in seen] == [Priority.BATCH]
        second = asyncio.create_task(flight.once(KEY, encoding.lookup, compute))
        await asyncio.sleep(0)
        assert [urgency.priority for urgency in seen] == [Priority.INTERACTIVE]
        assert series.priority is Priority.BATCH
        encoding.may_end.set()
        assert await first == await second == "value 1"
