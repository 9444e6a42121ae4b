"""Permits before queueing: work is bounded, a short queue waits, everyone else is told when to come back."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from threadpoolctl import threadpool_limits

from hilum.errors import Overloaded
from hilum.serving.telemetry import Telemetry

P = ParamSpec("P")
T = TypeVar("T")

_LEAST_RETRY_S = 0.05
_LONGEST_RETRY_S = 30.0
_ASSUMED_DURATION_S = 1.0
# Weight of the newest duration in the running mean.
_NEWEST = 0.2


class Permits:
    """A bounded number of running and waiting pieces of work, first come first served, in one event loop.

    Args:
        running: How many may run at once, at least 1.
        waiting: How many may wait for one that runs; 0 refuses at once.
        name: Label in metrics.
        telemetry: Where the counts are shown; None for nowhere.
    """

    def __init__(self, running: int, waiting: int, *, name: str = "rpc", telemetry: Telemetry | None = None) -> None:
        if running < 1 or waiting < 0:
            raise ValueError(f"Permits need running >= 1 and waiting >= 0, got {running} and {waiting}.")
        self.limit_running = running
        self.limit_waiting = waiting
        self._name = name
        self._telemetry = telemetry
        self._running = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._mean_duration_s: float | None = None
        if telemetry is not None:
            telemetry.permit_limits(name, running=running, waiting=waiting)

    @property
    def running(self) -> int:
        """Permits in use."""
        return self._running

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return len(self._queue)

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[None]:
        """Holds a permit for the block.

        Raises:
            Overloaded: If all permits are in use and the queue is full; its `retry_after_s` is estimated from how long
                recent work took.
        """
        permit = await self.take()
        try:
            yield
        finally:
            permit.release()

    async def take(self) -> Permit:
        """Returns a permit that outlives the caller; whoever takes it must release it. See `acquire`."""
        asked = time.monotonic()
        if self._running < self.limit_running and not self._queue:
            self._running += 1
        else:
            if len(self._queue) >= self.limit_waiting:
                if self._telemetry is not None:
                    self._telemetry.refused(self._name)
                raise Overloaded(
                    f"{self._running} running and {len(self._queue)} waiting; no permit is free.",
                    retry_after_s=self.retry_after_s(),
                )
            await self._wait()
        if self._telemetry is not None:
            self._telemetry.queued(self._name, time.monotonic() - asked)
        self._show()
        return Permit(self)

    def retry_after_s(self) -> float:
        """Returns when a permit should be free for one more caller, in seconds."""
        mean = _ASSUMED_DURATION_S if self._mean_duration_s is None else self._mean_duration_s
        estimate = mean * (len(self._queue) + 1) / self.limit_running
        return min(max(estimate, _LEAST_RETRY_S), _LONGEST_RETRY_S)

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._show()
        try:
            await turn  # the permit is handed over by _give_back: _running already counts us
        except asyncio.CancelledError:
            if turn.cancelled():
                with contextlib.suppress(ValueError):
                    self._queue.remove(turn)
            else:
                self._hand_on()  # cancelled in the moment between being given the permit and taking it
            self._show()
            raise

    def _give_back(self, duration_s: float) -> None:
        mean = self._mean_duration_s
        self._mean_duration_s = duration_s if mean is None else mean + _NEWEST * (duration_s - mean)
        self._hand_on()
        self._show()

    def _hand_on(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():  # a cancelled caller stays in the queue until its task has run
                turn.set_result(None)
                return
        self._running -= 1

    def _show(self) -> None:
        if self._telemetry is not None:
            self._telemetry.permits(self._name, running=self._running, waiting=len(self._queue))


class Permit:
    """One permit; give it back with `release`, once or more often, in the event loop of its Permits."""

    def __init__(self, permits: Permits) -> None:
        self._permits: Permits | None = permits
        self._taken_at = time.monotonic()

    def release(self) -> None:
        """Gives the permit back; a second call does nothing."""
        permits, self._permits = self._permits, None
        if permits is not None:
            permits._give_back(time.monotonic() - self._taken_at)  # the two halves of one class


class ComputePool:
    """Threads for numerical work that releases the GIL, behind permits.

    Args:
        threads: Pieces of work that run at once.
        waiting: Pieces of work that may wait.
        name: Label in metrics and thread names.
        telemetry: Where the counts are shown; None for nowhere.
    """

    def __init__(
        self, threads: int, waiting: int, *, name: str = "compute", telemetry: Telemetry | None = None
    ) -> None:
        self.permits = Permits(threads, waiting, name=name, telemetry=telemetry)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=f"hilum-{name}")
        # The pool is the parallelism. Threads of BLAS's own would spin beside it and double the time of a mask.
        self._blas = threadpool_limits(limits=1, user_api="blas")

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` in a thread, with the caller's context variables, and returns what it returns.

        A caller that is cancelled leaves at once: its work is dropped if it has not started. If it has, the thread runs
        to its end, and the permit stays taken until then, so that cancelled callers cannot pile up work.

        Raises:
            Overloaded: If no permit is free; see Permits.acquire.
        """
        loop = asyncio.get_running_loop()
        permit = await self.permits.take()
        try:
            # The lambda keeps P's types: Context.run is typed for plain callables.
            context = contextvars.copy_context()
            future: Future[T] = self._executor.submit(lambda: context.run(work, *args, **kwargs))
        except BaseException:
            permit.release()
            raise

        def ended(_: Future[T]) -> None:
            # A closed loop has no callers left to hand the permit to.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(permit.release)

        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Drops what waits and returns when the threads have ended."""
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)
        self._blas.restore_original_limits()
