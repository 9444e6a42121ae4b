"""Faults of Triton behind the encoder: what needs it is refused by a typed error, what is known is answered."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

from modeling.install import installed
from modeling.model_repository import Execution, generate_model_repository
from tests.chaos.fault import Fault, Observation
from tests.chaos.stack import Stack, Tally
from tests.integration.tritonserver import TritonServer, small_bundle

MODEL = "lite-medsam-click"
_UNAVAILABLE = ("BackendUnavailable", "DeadlineExceeded")
Run: TypeAlias = Callable[[Stack], Awaitable[Observation]]


class TritonUnderFault:
    """A tritonserver, and the models that it is given.

    Attributes:
        server: The server.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        bundle = installed(MODEL)
        assert bundle is not None
        self.server = TritonServer(folder / "server.log")
        self._repository = generate_model_repository(bundle, folder / "right", Execution(intra_op_threads=1))
        (folder / "other").mkdir()
        other = small_bundle(bundle, folder / "other" / MODEL)
        self._other = generate_model_repository(other, folder / "wrong", Execution(intra_op_threads=1))

    async def start(self, *, wrong: bool = False) -> None:
        """Starts the server with its model, or with other weights under the same name."""
        await asyncio.to_thread(self.server.start, self._other if wrong else self._repository)

    def close(self) -> None:
        """Ends the server."""
        self.server.kill()
        self._folder.cleanup()


def faults(triton: TritonUnderFault) -> list[Fault]:
    """Returns the faults of this server."""

    def under_load(before: Callable[[Stack], Awaitable[None]], after: Callable[[], Awaitable[None]]) -> Run:
        async def run(stack: Stack) -> Observation:
            async def is_known() -> bool:
                return (await stack.ask(3, group="known")).right == 3

            await stack.until(is_known)
            load = asyncio.ensure_future(stack.ask(6))
            await before(stack)
            tally = await load
            known = await stack.ask(3, group="known")
            lost = Tally(lost=["what was known"] * (3 - known.right))
            tally += known + lost + await stack.ask(3)
            await after()
            return Observation(tally, await stack.until(stack.answers))

        return run

    async def kill(_: Stack) -> None:
        await asyncio.to_thread(triton.server.kill)

    async def kill_stub(_: Stack) -> None:
        await asyncio.to_thread(triton.server.kill_model_processes)

    async def restart() -> None:
        await asyncio.to_thread(triton.server.kill)
        await triton.start()

    async def stop(_: Stack) -> None:
        os.kill(triton.server.pid, signal.SIGSTOP)

    async def go_on() -> None:
        os.kill(triton.server.pid, signal.SIGCONT)

    async def load_another(_: Stack) -> None:
        await asyncio.to_thread(triton.server.kill)
        await triton.start(wrong=True)

    return [
        Fault("Triton killed under load", under_load(kill, triton.start), _UNAVAILABLE),
        Fault("Triton's model process killed", under_load(kill_stub, restart), _UNAVAILABLE),
        Fault("Triton hung (SIGSTOP)", under_load(stop, go_on), _UNAVAILABLE),
        Fault("Triton with another model's weights", under_load(load_another, restart), _UNAVAILABLE),
    ]
