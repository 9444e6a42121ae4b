"""Registering two volumes of a request: the registration runs in threads, a step at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from hilum.codec.volume_registrations import VolumeRegistrationRequest
from hilum.fusion_capabilities import VerifiedPair, pair_doubts
from hilum.image_grid import ImageGrid
from hilum.serving.overload import ComputePool
from hilum.transform import Transform
from hilum.types import DeformationReport, RegistrationProgress, ViewRelation
from hilum.volume_registration import VolumeRegistrationResult
from hilum.warp import Warp, inverted
from services.fusion.stepping import Finished, next_step
from services.fusion.volume_registration import ALGORITHM, RegistrationVolume, VolumeOutcome, VolumeRegistration


class RegisteringVolumes:
    """Carries out registrations of volumes.

    Args:
        core: The algorithm.
        pool: Threads for the algorithm.
        verified: Pairs of modalities between which results were verified; others are flagged.
    """

    def __init__(self, core: VolumeRegistration, pool: ComputePool, verified: Sequence[VerifiedPair]) -> None:
        self._core = core
        self._pool = pool
        self._verified = verified

    async def run(
        self, request: VolumeRegistrationRequest, fixed: NDArray[Any], moving: NDArray[Any]
    ) -> AsyncGenerator[RegistrationProgress | VolumeRegistrationResult, None]:
        """Yields progress, then the result. Closing it, or cancelling the caller, stops the work at the next step.

        Args:
            request: What is asked for.
            fixed: Voxels (depth, height, width).
            moving: Likewise.

        Raises:
            NoContent: A volume is constant.
            InvalidField: Sizes or spacings cannot be registered.
        """
        begin = time.perf_counter()
        work = self._core.run(
            RegistrationVolume(fixed, request.fixed_frame, request.fixed.padding_value),
            RegistrationVolume(moving, request.moving_frame, request.moving.padding_value),
            request.options,
        )
        told: RegistrationProgress | None = None
        while True:
            # One step a call, so that a cancelled caller stops the work.
            step = await self._pool.run(next_step, work)
            if isinstance(step, Finished):
                yield _result(request, self._with_doubts(request, step.outcome), (time.perf_counter() - begin) * 1000)
                return
            if step != told:
                told = step
                yield step

    def _with_doubts(self, request: VolumeRegistrationRequest, outcome: VolumeOutcome) -> VolumeOutcome:
        doubts = pair_doubts(*request.modalities, ViewRelation.COMPARABLE, self._verified)
        return replace(outcome, flags=tuple(sorted({*outcome.flags, *doubts})))


def _result(request: VolumeRegistrationRequest, outcome: VolumeOutcome, total_ms: float) -> VolumeRegistrationResult:
    field, matrix = outcome.field, outcome.fixed_to_moving
    fixed = ImageGrid(request.fixed.shape, request.fixed.geometry)
    moving = ImageGrid(request.moving.shape, request.moving.geometry)
    there = Warp(matrix, None if field is None else field.displacements)
    back = Warp(inverted(matrix), None if field is None else field.inverse)
    return VolumeRegistrationResult(
        transform=Transform.from_warp(there, fixed, moving, flags=outcome.flags, algorithm=ALGORITHM),
        inverse=Transform.from_warp(back, moving, fixed, flags=outcome.flags, algorithm=ALGORITHM),
        stages=outcome.stages,
        similarity_before=outcome.similarity_before,
        similarity_after=outcome.similarity_after,
        overlap_fraction=outcome.overlap_fraction,
        distinctness=outcome.distinctness,
        inverse_residual_mm=0.0 if field is None else field.inverse_residual_mm,
        deformation=None
        if field is None
        else DeformationReport(field.folding_fraction, *field.jacobian_range, field.bending_energy),
        total_ms=total_ms,
    )
