"""Permits before queueing: work is bounded, a short queue waits, everyone else is told when to come back."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

from threadpoolctl import threadpool_limits

from hilum.errors import Overloaded
from hilum.serving.priority import Priority, Urgency, current_priority, current_urgency
from hilum.serving.settings import ServiceSettings
from hilum.serving.standing_queue import StandingQueue
from hilum.serving.telemetry import Telemetry

P = ParamSpec("P")
T = TypeVar("T")

_LEAST_RETRY_S = 0.05
_LONGEST_RETRY_S = 30.0
_ASSUMED_DURATION_S = 1.0
# Weight of the newest duration in the running mean.
_NEWEST = 0.2


class Permits:
    """A bounded number of running and waiting pieces of work in one event loop.

    Interactive work goes before batch work (`hilum.serving.priority`); within a class, first come first served. Each
    class has waiting places of its own.

    Args:
        running: How many may run at once, at least 1.
        waiting: How many of a class may wait for one that runs; 0 refuses at once.
        reserved: Permits that batch work leaves free, so that interactive work need not wait for it to end; less than
            `running`.
        standing: How many of the interactive class may wait while its queue stands (`hilum.serving.standing_queue`);
            None for as many as ever.
        name: Label in metrics.
        telemetry: Where the counts are shown; None for nowhere.
    """

    def __init__(
        self,
        running: int,
        waiting: int,
        *,
        reserved: int = 0,
        standing: int | None = None,
        name: str = "rpc",
        telemetry: Telemetry | None = None,
    ) -> None:
        if running < 1 or waiting < 0:
            raise ValueError(f"Permits need running >= 1 and waiting >= 0, got {running} and {waiting}.")
        if not 0 <= reserved < running:
            raise ValueError(f"Of {running} permits at most {running - 1} can be reserved, not {reserved}.")
        self.limit_running = running
        self.limit_waiting = waiting
        self._limits = {Priority.INTERACTIVE: running, Priority.BATCH: running - reserved}
        self._name = name
        self._telemetry = telemetry
        self._running = dict.fromkeys(Priority, 0)
        self._queues: dict[Priority, deque[asyncio.Future[Priority]]] = {priority: deque() for priority in Priority}
        self._mean_duration_s: dict[Priority, float | None] = dict.fromkeys(Priority)
        self._standing = StandingQueue(waiting, waiting if standing is None else standing)
        if telemetry is not None:
            telemetry.permit_limits(name, running=running, waiting=waiting)

    @classmethod
    def of_calls(cls, settings: ServiceSettings, *, name: str, telemetry: Telemetry) -> Self:
        """Returns the permits of a service's calls, as its settings say."""
        running = settings.running_permits
        return cls(
            running,
            settings.waiting_permits,
            reserved=min(settings.reserved_permits, running - 1),
            # One more waits than runs. With as many, the queue of a single permit is empty e^-2 of the time when its
            # work ends, at twice the load: work that could have been done, and is refused.
            standing=running + 1,
            name=name,
            telemetry=telemetry,
        )

    @property
    def running(self) -> int:
        """Permits in use."""
        return sum(self._running.values())

    @property
    def waiting(self) -> int:
        """Callers in the queues."""
        return sum(map(len, self._queues.values()))

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
        priority = current_priority()
        asked = time.monotonic()
        if self._is_free_for(priority):
            self._running[priority] += 1
        else:
            self.refuse_if_full()
            priority = await self._wait(current_urgency())
        if self._telemetry is not None:
            self._telemetry.queued(self._name, time.monotonic() - asked)
        self._show()
        return Permit(self, priority)

    def refuse_if_full(self) -> None:
        """Raises Overloaded if `take` would: so that a call is refused before anything is done for it."""
        priority = current_priority()
        if self._is_free_for(priority):
            return
        waiting, places, now = len(self._queues[priority]), self.limit_waiting, time.monotonic()
        if priority is Priority.INTERACTIVE:
            places = self._standing.places(now, self._drain_s())
        if waiting >= places:
            self._standing.refused(now, self._drain_s())
            if self._telemetry is not None:
                self._telemetry.refused(self._name)
            raise Overloaded(
                f"{self.running} running and {waiting} waiting; no permit is free.", retry_after_s=self.retry_after_s()
            )

    def retry_after_s(self) -> float:
        """Returns when a permit should be free for one more caller of this class, in seconds."""
        priority = current_priority()
        ahead = len(self._queues[Priority.INTERACTIVE])
        if priority is Priority.BATCH:
            ahead += len(self._queues[priority])
        estimate = self._duration_s(priority) * (ahead + 1) / self._limits[priority]
        return min(max(estimate, _LEAST_RETRY_S), _LONGEST_RETRY_S)

    def _is_free_for(self, priority: Priority) -> bool:
        first = not any(self._queues[ahead] for ahead in Priority if ahead is priority or ahead is Priority.INTERACTIVE)
        return first and self._has_room_for(priority)

    def _has_room_for(self, priority: Priority) -> bool:
        limit = self._limits[priority]
        return self.running < self.limit_running and (
            priority is Priority.INTERACTIVE or self._running[priority] < limit
        )

    def _duration_s(self, priority: Priority) -> float:
        mean = self._mean_duration_s[priority]
        return _ASSUMED_DURATION_S if mean is None else mean

    def _drain_s(self) -> float:
        return self._duration_s(Priority.INTERACTIVE) * max(1, self.limit_waiting) / self.limit_running

    async def _wait(self, urgency: Urgency) -> Priority:
        """Returns the class in which the permit was given; it may have risen meanwhile."""
        turn: asyncio.Future[Priority] = asyncio.get_running_loop().create_future()
        self._queues[urgency.priority].append(turn)
        self._show()
        try:
            with urgency.heeded_by(lambda: self._raise(turn)):
                return await turn  # the permit is handed over by _hand_on: _running already counts us
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(turn)
            else:  # cancelled in the moment between being given the permit and taking it
                self._running[turn.result()] -= 1
                self._hand_on()
            self._show()
            raise

    def _raise(self, turn: asyncio.Future[Priority]) -> None:
        if self._leave(turn):
            self._queues[Priority.INTERACTIVE].append(turn)
            self._hand_on()
            self._show()

    def _leave(self, turn: asyncio.Future[Priority]) -> bool:
        """Takes a turn out of its queue; returns whether it was in one."""
        for queue in self._queues.values():
            if turn in queue:
                queue.remove(turn)
                return True
        return False

    def _give_back(self, priority: Priority, duration_s: float) -> None:
        mean = self._mean_duration_s[priority]
        self._mean_duration_s[priority] = duration_s if mean is None else mean + _NEWEST * (duration_s - mean)
        self._running[priority] -= 1
        self._hand_on()
        self._show()

    def _hand_on(self) -> None:
        for priority in Priority:
            queue = self._queues[priority]
            while queue and self._has_room_for(priority):
                turn = queue.popleft()
                if not turn.done():  # a cancelled caller stays in the queue until its task has run
                    self._running[priority] += 1
                    turn.set_result(priority)

    def _show(self) -> None:
        self._standing.holds(len(self._queues[Priority.INTERACTIVE]), time.monotonic())
        if self._telemetry is not None:
            self._telemetry.permits(self._name, running=self.running, waiting=self.waiting)


class Permit:
    """One permit; give it back with `release`, once or more often, in the event loop of its Permits."""

    def __init__(self, permits: Permits, priority: Priority) -> None:
        self._permits: Permits | None = permits
        self._priority = priority
        self._taken_at = time.monotonic()

    def release(self) -> None:
        """Gives the permit back; a second call does nothing."""
        permits, self._permits = self._permits, None
        if permits is not None:
            permits._give_back(self._priority, time.monotonic() - self._taken_at)  # the two halves of one class


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
