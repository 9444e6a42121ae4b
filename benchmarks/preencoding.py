"""Clicks beside an encoder that encodes studies ahead of time on the same cores, in a process of low priority.

    python -m benchmarks preencoding

Real processes on loopback. The decoder has one core; the generator, another encoder, which the decoder asks, and Valkey
have another; the pre-encoding encoder (HILUM_NICENESS=19) runs on both. Clicks arrive at random moments. Phases without
and with pre-encoding take turns; with it, one image that nobody knows follows the other without a pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Sequence

import numpy as np

from benchmarks.load import IMAGES, Clicks, encoded, on_core, pinned, quantile
from benchmarks.report import main
from benchmarks.serving import image
from hilum import AsyncClient, Endpoints, Image, Window
from hilum.connection import open_channel
from tests.integration.processes import Process, service

ROUNDS = 5
PHASE_S = 6.0
WARM_UP_S = 1.0
# Less than half of what one core answers: hands that drag and click, and time between them.
CLICKS_PER_S = 8.0
LOWEST_PRIORITY = "19"
WINDOW = Window(100, 600)


class PreEncoding:
    """Encodes images that nobody knows, one after the other, and counts them."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._numbers = itertools.count(1)
        self.images = 0

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Encodes inside the block; the image that is under way at its end is finished."""
        stopping = asyncio.Event()
        task = asyncio.create_task(self._until(stopping))
        try:
            yield
        finally:
            stopping.set()
            await task

    async def _until(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            number = next(self._numbers)
            pixels = image()
            # No two have the same digest.
            pixels[0, :2] = divmod(number, 1000)
            await self._client.encode(Image(pixels), mapping=WINDOW)
            self.images += 1


async def phase_ms(clicks: Clicks, seed: int) -> list[float]:
    """Clicks for the time of a phase; returns the durations in ms of what ended after the warm-up."""
    outcomes = await clicks.open_loop(CLICKS_PER_S, PHASE_S, seed)
    return [1000 * outcome.duration_s for outcome in outcomes if outcome.ended_s >= WARM_UP_S and not outcome.refused]


def figures(alone: Sequence[float], beside: Sequence[float], images: int) -> dict[str, float]:
    """Returns what the durations say, in ms."""
    return {
        "preencoding_click_p95_alone_ms": quantile(alone, 0.95),
        "preencoding_click_p95_beside_ms": quantile(beside, 0.95),
        "preencoding_click_p95_ratio": quantile(beside, 0.95) / quantile(alone, 0.95),
        "preencoding_click_median_ratio": float(np.median(beside) / np.median(alone)),
        "preencoding_images_per_s": images / (ROUNDS * PHASE_S),
    }


async def measured(decoder: Process, encoder: Process, ahead: Process) -> dict[str, float]:
    """Returns the figures of running services."""
    alone: list[float] = []
    beside: list[float] = []
    async with (
        open_channel(decoder.address) as channel,
        AsyncClient(Endpoints(ahead.address, decoder.address), priority="batch") as client,
    ):
        clicks = Clicks(channel, await encoded(encoder, IMAGES))
        preencoding = PreEncoding(client)
        for seed in range(ROUNDS):
            alone += await phase_ms(clicks, seed)
            async with preencoding.going_on():
                beside += await phase_ms(clicks, seed)
        return figures(alone, beside, preencoding.images)


def measure() -> dict[str, float]:
    """Returns how much longer clicks take while studies are encoded ahead of time on the same cores.

    Raises:
        RuntimeError: Fewer than two cores: the generator would be measured too.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise RuntimeError("two cores are needed, one for the services and one for the load generator")
    with (
        pinned(cores[0], cores[1]) as (decoder, encoder, redis),
        service("encoder", redis_url=redis, niceness=LOWEST_PRIORITY) as ahead,
        on_core(cores[1]),
    ):
        return asyncio.run(measured(decoder, encoder, ahead))


if __name__ == "__main__":
    main(measure)
