"""How fast two images of 1024 x 1024 are fused, on one thread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.one_thread import one_thread
from hilum.fusion_style import PyramidFusion
from services.fusion.pyramid import bands, fuse_images, reconstruct

SIDE_PX = 1024
_ROUNDS = 21


def speed(with_gradients: PyramidFusion) -> dict[str, float]:
    """Medians of the wall clock's and of the processor's milliseconds.

    The ratio compares the rule with taking both images apart and putting them together again, in the same rounds.
    """
    first, second = _structures(0), _structures(1)

    def pyramids_alone() -> None:
        for image in (first, second):
            reconstruct(list(bands(image, 3)))

    works: dict[str, Callable[[], object]] = {
        "fusion": lambda: fuse_images(first, second),
        "gradients": lambda: fuse_images(first, second, with_gradients),
        "pyramids": pyramids_alone,
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    with one_thread():
        for _ in range(_ROUNDS):
            for name, work in works.items():
                taken[name].append(_timed_ms(work))
    wall, processor = (
        {name: statistics.median(times[clock] for times in rounds) for name, rounds in taken.items()}
        for clock in (0, 1)
    )
    return {
        "fusion_1024_ms": wall["fusion"],
        "fusion_1024_cpu_ms": processor["fusion"],
        "fusion_1024_gradients_cpu_ms": processor["gradients"],
        "fusion_1024_vs_pyramids_alone": processor["fusion"] / processor["pyramids"],
    }


def _structures(seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).random((SIDE_PX, SIDE_PX), np.float32)
    blurred = np.asarray(cv2.GaussianBlur(noise, (0, 0), 3.0), np.float32)
    return np.asarray(np.clip(3.0 * blurred - 1.0, 0.0, 1.0), np.float32)


def _timed_ms(work: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.thread_time()
    work()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.thread_time() - processor)
