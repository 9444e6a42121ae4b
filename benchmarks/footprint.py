"""What each service needs: memory and processor time of the real processes. deploy/k8s takes its requests from this.

    python -m benchmarks.footprint

Local caches are held at 32 MiB and filled, so that a pod's memory is the peak below, less 32 MiB, plus its
HILUM_LOCAL_CACHE_BYTES. Four callers at once, as many as a service computes for by default. Images of 512 x 512 for
encoder and decoder, pairs of 1024 x 1024 for fusion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil

from benchmarks.report import main
from hilum import AsyncClient, Box, Endpoints, Image, Prompt, Window
from hilum.types import ViewRelation
from tests.integration.processes import Process, decoder_of, free_port, service, valkey

CALLERS = 4
IMAGES = 16
PROMPTS = 200
PAIRS = 4
CACHE_BYTES = 32 * 2**20
WINDOW = Window(500, 1000)
MIB = 2**20

Call = Callable[[int], Awaitable[object]]


def disc(seed: int, side: int) -> Image:
    """Returns a bright disc on noise, (side, side) int16; every seed is another image."""
    rows, columns = np.mgrid[:side, :side] / side
    inside = (rows - 0.45 - 0.01 * seed) ** 2 + (columns - 0.5) ** 2 < 0.02
    noise = np.random.default_rng(seed).normal(300, 60, (side, side))
    return Image((noise + 400 * inside).astype(np.int16))


def peak_mib(process: Process) -> float:
    """Returns the most memory that the process has held so far."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def cpu_s(process: Process) -> float:
    """Returns the processor time that the process has used."""
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


async def called(process: Process, call: Call, count: int) -> float:
    """Makes `count` calls from CALLERS callers; returns the processor time of one, in seconds."""
    numbers = iter(range(count))

    async def caller() -> None:
        for number in numbers:
            await call(number)

    begin = cpu_s(process)
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return (cpu_s(process) - begin) / count


async def measured(encoder: Process, decoder: Process, fusion: Process) -> dict[str, float]:
    """Loads the three services one after the other."""
    figures = {}
    for process in (encoder, decoder, fusion):
        name = process.module.rpartition(".")[2]
        figures[f"{name}_start_cpu_s"] = cpu_s(process)
        figures[f"{name}_idle_mib"] = psutil.Process(process.pid).memory_info().rss / MIB
    images = [disc(seed, 512) for seed in range(IMAGES)]
    pairs = [(disc(seed, 1024), disc(seed + 1, 1024)) for seed in range(PAIRS)]
    prompts = [Prompt(box=Box(180, 150, 340, 330))]
    endpoints = Endpoints(encoder.address, decoder.address, fusion.address)
    async with AsyncClient(endpoints, timeout_s=300) as client:
        figures["encoder_cpu_s_per_image"] = await called(
            encoder, lambda number: client.encode(images[number], mapping=WINDOW), IMAGES
        )
        figures["decoder_cpu_s_per_prompt"] = await called(
            decoder,
            lambda number: client.predict(images[number % IMAGES], prompts, mapping=WINDOW, region=None),
            PROMPTS,
        )
        figures["fusion_cpu_s_per_registration"] = await called(
            fusion, lambda number: client.register(*pairs[number], view_relation=ViewRelation.COMPARABLE), PAIRS
        )
    for process in (encoder, decoder, fusion):
        figures[f"{process.module.rpartition('.')[2]}_peak_mib"] = peak_mib(process)
    return figures


def measure() -> dict[str, float]:
    """Starts the services beside a Valkey server and returns their figures."""
    with ExitStack() as stack:
        port = free_port()
        stack.enter_context(valkey(port))
        redis, cache = f"redis://127.0.0.1:{port}", str(CACHE_BYTES)
        encoder = stack.enter_context(service("encoder", redis_url=redis, local_cache_bytes=cache))
        decoder = stack.enter_context(decoder_of(encoder, redis, local_cache_bytes=cache))
        fusion = stack.enter_context(service("fusion", redis_url=redis, local_cache_bytes=cache))
        return asyncio.run(measured(encoder, decoder, fusion))


if __name__ == "__main__":
    main(measure)
