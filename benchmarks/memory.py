"""Does memory grow: resident memory of real service processes over many prompts, images and cancelled calls.

Encoder, decoder and a Valkey server on loopback, caches small enough to be full after the warm-up. Run alone with
`python -m benchmarks.memory`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import psutil

from benchmarks.report import main
from hilum import AsyncClient, Box, Endpoints, Image, Prompt, Window
from tests.integration.processes import Process, decoder_of, free_port, service, valkey

SIZE = 128
WINDOW = Window(100, 400)
PROMPTED_IMAGES = 8
AT_ONCE = 4
_MIB = 2**20
# Sixteen embeddings of the default model.
CACHE_BYTES = str(32 * _MIB)


@dataclass(frozen=True)
class Load:
    """How much is asked.

    Attributes:
        prompts: Calls with one prompt.
        images: Images that nobody knows.
        cancelled: Calls of all kinds that their caller gives up.
    """

    prompts: int
    images: int
    cancelled: int


WARM_UP = Load(prompts=4_000, images=200, cancelled=150)
MEASURED = Load(prompts=20_000, images=1_000, cancelled=500)


def image(seed: int) -> Image:
    """Returns a bright ellipse on noise that no other seed gives."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    ellipse = ((rows - 60) / 30) ** 2 + ((columns - 64) / 25) ** 2 < 1
    noise = np.random.default_rng(seed).normal(0, 60, (SIZE, SIZE))
    return Image((noise + 300 * ellipse).astype(np.int16))


class Caller:
    """Asks the services for what a load says, a few calls at once.

    Args:
        client: The client.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._random = random.Random(1)  # noqa: S311 - no secret
        self._prompted = [image(seed) for seed in range(PROMPTED_IMAGES)]
        self._next_seed = 1_000

    async def ask(self, load: Load) -> None:
        """Makes all the calls, in random order."""
        calls: list[Callable[[], Awaitable[object]]] = [
            *[self._prompt] * load.prompts,
            *[self._encode] * load.images,
            *[self._give_up] * load.cancelled,
        ]
        self._random.shuffle(calls)
        waiting = iter(calls)

        async def work() -> None:
            for call in waiting:
                await call()

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    def _box(self) -> Prompt:
        x, y = self._random.uniform(5, 40), self._random.uniform(5, 40)
        return Prompt(box=Box(x, y, x + self._random.uniform(20, 80), y + self._random.uniform(20, 80)))

    async def _prompt(self, prompts: int = 1) -> None:
        which = self._random.choice(self._prompted)
        await self._client.predict(which, [self._box() for _ in range(prompts)], mapping=WINDOW, region=None)

    async def _encode(self) -> None:
        self._next_seed += 1
        await self._client.encode(image(self._next_seed), mapping=WINDOW)

    async def _drag(self) -> None:
        async with await self._client.dragging(self._prompted[0], mapping=WINDOW) as dragging:
            while True:
                await dragging.move([self._box()])
                await dragging.answer()

    async def _give_up(self) -> None:
        """Starts a call and cancels it at any moment."""
        kinds: list[Callable[[], Coroutine[object, object, object]]] = [
            self._encode,
            self._drag,
            lambda: self._prompt(64),
            lambda: self._client.generate_masks(self._prompted[0], mapping=WINDOW),
        ]
        call = asyncio.ensure_future(self._random.choice(kinds)())
        await asyncio.wait([call], timeout=self._random.uniform(0, 0.1))
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def growth(warm_up: Load, measured: Load) -> Mapping[str, float]:
    """Returns resident memory after the warm-up and after the load, in MiB, and the growth in percent, by service."""
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(valkey(port, maxmemory="64mb"))
        redis = f"redis://127.0.0.1:{port}"
        encoder = stack.enter_context(service("encoder", redis_url=redis, local_cache_bytes=CACHE_BYTES))
        decoder = stack.enter_context(decoder_of(encoder, redis, local_cache_bytes=CACHE_BYTES))
        processes = {"encoder": encoder, "decoder": decoder}
        async with AsyncClient(Endpoints(encoder.address, decoder.address), attempts=20) as client:
            caller = Caller(client)
            await caller.ask(warm_up)
            before = {name: _resident_mib(process) for name, process in processes.items()}
            await caller.ask(measured)
            after = {name: _resident_mib(process) for name, process in processes.items()}
    figures: dict[str, float] = {}
    for name in processes:
        figures[f"memory_{name}_warm_mib"] = before[name]
        figures[f"memory_{name}_end_mib"] = after[name]
        figures[f"memory_{name}_growth_percent"] = 100 * (after[name] / before[name] - 1)
    return figures


def _resident_mib(process: Process) -> float:
    return float(psutil.Process(process.pid).memory_info().rss) / _MIB


def measure() -> Mapping[str, float]:
    """Returns the figures of the whole load."""
    return asyncio.run(growth(WARM_UP, MEASURED))


if __name__ == "__main__":
    main(measure)
