"""How late a tracked instrument's points are, at a thousand a second over one stream.

A real fusion service process on loopback. The client writes one point every millisecond, waits for each answer, and
counts from when the point was due: what it was late for and what the answer took. `hilum.Transform` in the caller's own
process is timed beside. Run alone with `python -m benchmarks.points`.
"""

from __future__ import annotations

import asyncio
import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import main
from hilum.client import AsyncClient
from hilum.connection import Endpoints
from hilum.displacement_field import DisplacementField
from hilum.transform import Transform
from tests.integration.processes import service

RATE_HZ, POINTS, WARM_UP = 1000, 5000, 200
SIZE = (512, 512)


def transforms() -> dict[str, Transform]:
    """An affine transform, and one that bends by some pixels."""
    matrix = [[1.02, 0.05, -4.0], [-0.05, 0.98, 6.0], [0.0, 0.0, 1.0]]
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    waves = 6 * np.stack([np.sin(rows / 80), np.cos(columns / 90)])
    return {
        "affine": Transform.from_matrix(matrix, SIZE, SIZE),
        "deformable": Transform.from_matrix(matrix, SIZE, SIZE, displacement_field=DisplacementField(waves)),
    }


def path(count: int) -> NDArray[np.float64]:
    """A tip's way through the image, (count, 2)."""
    angle = np.linspace(0, 8 * np.pi, count)
    return 256 + np.stack([np.cos(angle), np.sin(angle)], 1) * np.linspace(20, 200, count)[:, None]


async def lateness(client: AsyncClient, transform: Transform) -> NDArray[np.float64]:
    """Milliseconds from when each point was due until its answer was there."""
    found = []
    async with client.point_stream(transform) as stream:
        for point in path(WARM_UP):
            await stream.move(point)
        begin = time.perf_counter()
        for number, point in enumerate(path(POINTS)):
            due = begin + number / RATE_HZ
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            await stream.move(point)
            found.append((time.perf_counter() - due) * 1000)
    return np.array(found)


def locally(transform: Transform) -> NDArray[np.float64]:
    """Milliseconds of `Transform.apply` for each point."""
    found = []
    for point in path(WARM_UP):
        begin = time.perf_counter()
        transform.apply(point[None])
        found.append((time.perf_counter() - begin) * 1000)
    return np.array(found)


def measure() -> dict[str, float]:
    """Quantiles by kind of transform, in ms."""
    figures: dict[str, float] = {}

    async def run(endpoint: str) -> None:
        endpoints = Endpoints(encoder=endpoint, decoder=endpoint, fusion=endpoint)
        async with AsyncClient(endpoints) as client:
            for name, transform in transforms().items():
                late, local = await lateness(client, transform), locally(transform)
                figures.update(
                    {
                        f"points_{name}_p50_ms": round(float(np.quantile(late, 0.5)), 3),
                        f"points_{name}_p99_ms": round(float(np.quantile(late, 0.99)), 3),
                        f"points_{name}_local_p50_ms": round(float(np.quantile(local, 0.5)), 4),
                    }
                )

    with service("fusion") as process:
        asyncio.run(run(process.address))
    return figures


if __name__ == "__main__":
    main(measure)
