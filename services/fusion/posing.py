"""Estimating the pose of a request: the search runs in threads, a step at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from hilum.codec.poses import PoseRequest
from hilum.pose import EstimatedPose
from hilum.serving.overload import ComputePool
from hilum.types import RegistrationProgress
from services.fusion.pose import PoseEstimation
from services.fusion.stepping import Finished, next_step


class Posing:
    """Carries out pose estimations.

    Args:
        core: The algorithm.
        pool: Threads for the algorithm.
    """

    def __init__(self, core: PoseEstimation, pool: ComputePool) -> None:
        self._core = core
        self._pool = pool

    async def run(
        self, request: PoseRequest, voxels: NDArray[Any]
    ) -> AsyncGenerator[RegistrationProgress | EstimatedPose, None]:
        """Yields progress, then the pose. Closing it, or cancelling the caller, stops the work at the next step.

        Raises:
            NoContent: Nothing in the volume is denser than air.
            InvalidField: The volume is too thin to be projected.
        """
        begin = time.perf_counter()
        work = self._core.run(
            voxels,
            request.frame,
            request.radiographs,
            request.initial,
            padding_value=request.volume.padding_value,
        )
        while True:
            # One step a call, so that a cancelled caller stops the work.
            step = await self._pool.run(next_step, work)
            if isinstance(step, Finished):
                yield replace(step.outcome, total_ms=(time.perf_counter() - begin) * 1000)
                return
            yield step
