"""Work that waits for nobody: the newest value counts, progress is skipped for slow readers."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from hilum.errors import NoContent
from hilum.serving.newest import Newest, unhindered

PATIENCE_S = 20


async def test_the_newest_replaces_what_nobody_took() -> None:
    """A taker gets the last value and how many it replaced; the end comes after it."""
    place: Newest[str] = Newest()
    for value in "abc":
        place.put(value)
    place.close()
    assert await place.take() == ("c", 2)
    assert await place.take() is None


async def test_a_taker_waits_for_a_value() -> None:
    """A value that comes later is taken, and what it replaced is counted anew."""
    place: Newest[int] = Newest()
    async with asyncio.timeout(PATIENCE_S):
        taking = asyncio.create_task(place.take())
        await asyncio.sleep(0)
        place.put(1)
        assert await taking == (1, 0)
        place.put(2)
        assert await place.take() == (2, 0)


class Work:
    """Numbers as progress and a word as the result; says when it has ended."""

    def __init__(self, *events: int | str, error: Exception | None = None) -> None:
        self.ended = asyncio.Event()
        self._events, self._error = events, error

    async def run(self) -> AsyncGenerator[int | str, None]:
        """Yields everything."""
        try:
            for event in self._events:
                yield event
            if self._error:
                raise self._error
        finally:
            self.ended.set()


async def test_a_slow_reader_does_not_hold_the_work() -> None:
    """After the first event the work runs to its end unread; of its progress the newest is left, and the result."""
    work = Work(1, 2, 3, "result")
    async with asyncio.timeout(PATIENCE_S), aclosing(unhindered(work.run(), int)) as events:
        first = await anext(events)
        await work.ended.wait()
        assert [first, *[event async for event in events]][-1] == "result"


async def test_results_are_never_skipped() -> None:
    """Only what may be replaced is replaced."""
    work = Work("a", "b", 1, "c")
    async with asyncio.timeout(PATIENCE_S):
        seen = [event async for event in unhindered(work.run(), int)]
    assert [event for event in seen if isinstance(event, str)] == ["a", "b", "c"]


async def test_errors_come_after_what_was_done() -> None:
    """The work's error reaches the reader."""
    work = Work("a", error=NoContent("nothing there"))
    async with asyncio.timeout(PATIENCE_S), aclosing(unhindered(work.run(), int)) as events:
        assert await anext(events) == "a"
        with pytest.raises(NoContent):
            await anext(events)


async def test_a_reader_that_leaves_ends_the_work() -> None:
    """Closing the reader cancels the work, which has cleaned up by then."""
    work = Work()

    async def endless() -> AsyncGenerator[int | str, None]:
        async with aclosing(work.run()):
            yield "begun"
            try:
                await asyncio.Event().wait()
            finally:
                work.ended.set()

    async with asyncio.timeout(PATIENCE_S):
        async with aclosing(unhindered(endless(), int)) as events:
            assert await anext(events) == "begun"
        assert work.ended.is_set()
