"""Registering two images of a request: prompts become masks, the registration runs in threads, a step at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from hilum.codec.fusion import MappedImage, Outline
from hilum.errors import NoContent
from hilum.fusion_capabilities import VerifiedPair, pair_doubts
from hilum.intensity import valid_pixels
from hilum.registration_options import RegistrationOptions
from hilum.serving.overload import ComputePool
from hilum.transform import Transform
from hilum.types import (
    BoolMask,
    DeformationReport,
    Prompt,
    Registration,
    RegistrationProgress,
    TargetReport,
    ViewRelation,
)
from hilum.warp import Warp, inverted
from services.fusion.registration import ALGORITHM, RegistrationImage, RegistrationOutcome
from services.fusion.registration import Registration as RegistrationCore
from services.fusion.stepping import Finished, next_step
from services.fusion.targets import TargetSegmenter

# Rough share of the whole that encoder and decoder take, for progress.
_SEGMENT_SHARE = 0.3


@dataclass(frozen=True)
class RegistrationTask:
    """Two images to register.

    Attributes:
        fixed: The image whose grid the result is shown on.
        moving: The image that is brought onto it.
        view_relation: How the two see the body.
        targets: Outlines of the same targets in fixed and in moving.
        options: What is asked for and known.
        model: For outlines given as prompts, "" for the encoder's default.
        tenant: For whom.
    """

    fixed: MappedImage
    moving: MappedImage
    view_relation: ViewRelation
    targets: Sequence[tuple[Outline, Outline]]
    options: RegistrationOptions
    model: str
    tenant: str


class Registering:
    """Carries out registration tasks.

    Args:
        core: The algorithm.
        segmenter: Makes masks of prompts.
        pool: Threads for the algorithm.
        verified: Pairs of modalities between which results were verified; others are flagged.
    """

    def __init__(
        self,
        core: RegistrationCore,
        segmenter: TargetSegmenter,
        pool: ComputePool,
        verified: Sequence[VerifiedPair],
    ) -> None:
        self._core = core
        self._segmenter = segmenter
        self._pool = pool
        self._verified = verified

    async def run(self, task: RegistrationTask) -> AsyncGenerator[RegistrationProgress | Registration, None]:
        """Yields progress, then the result. Closing it, or cancelling the caller, stops the work at the next step.

        Raises:
            NoContent: An image is constant, or a target empty.
            InvalidField: Sizes or spacings cannot be registered, or an option cannot be followed.
            HilumError: What encoder or decoder answered.
        """
        begin = time.perf_counter()
        masks: list[tuple[BoolMask, BoolMask]] = []
        prompts = any(isinstance(outline.given, Prompt) for pair in task.targets for outline in pair)
        share = _SEGMENT_SHARE if prompts else 0.0
        for index, (in_fixed, in_moving) in enumerate(task.targets):
            yield RegistrationProgress("segment", share * index / len(task.targets), 0.0)
            pair = (
                await self._mask(in_fixed, task.fixed, task),
                await self._mask(in_moving, task.moving, task),
            )
            masks.append(pair)
        fixed = _registration_image(task.fixed, [in_fixed for in_fixed, _ in masks])
        moving = _registration_image(task.moving, [in_moving for _, in_moving in masks])
        work = self._core.run(fixed, moving, task.view_relation, task.options)
        told: RegistrationProgress | None = None
        while True:
            # One step a call, so that a cancelled caller stops the work: the next step is never asked for.
            step = await self._pool.run(next_step, work)
            if isinstance(step, Finished):
                outcome = self._with_pair_doubts(task, step.outcome)
                yield _result(task, masks, outcome, (time.perf_counter() - begin) * 1000)
                return
            if step != told:
                told = step
                yield replace(step, fraction=share + (1 - share) * step.fraction)

    def _with_pair_doubts(self, task: RegistrationTask, outcome: RegistrationOutcome) -> RegistrationOutcome:
        fixed, moving = task.fixed.image.source.modality, task.moving.image.source.modality
        doubts = pair_doubts(fixed, moving, task.view_relation, self._verified)
        return replace(outcome, flags=tuple(sorted({*outcome.flags, *doubts})))

    async def _mask(self, outline: Outline, mapped: MappedImage, task: RegistrationTask) -> BoolMask:
        given = outline.given
        if isinstance(given, Prompt):
            if mapped.mapping is None:
                raise ValueError("a prompt needs an intensity mapping")
            return await self._segmenter.outline(
                mapped.image,
                given,
                mapped.mapping,
                model=task.model,
                tenant=task.tenant,
                field=outline.field,
            )
        if not given.any():
            raise NoContent(
                "the mask is empty; send a mask with foreground, or leave the target out", field=outline.field
            )
        return given


def _registration_image(mapped: MappedImage, targets: list[BoolMask]) -> RegistrationImage:
    image = mapped.image
    return RegistrationImage(
        image.pixels, image.geometry.plane_spacing_mm, valid=valid_pixels(image), targets=tuple(targets)
    )


def _result(
    task: RegistrationTask, masks: list[tuple[BoolMask, BoolMask]], outcome: RegistrationOutcome, total_ms: float
) -> Registration:
    fixed, moving = task.fixed.image, task.moving.image
    field = outcome.field
    transform = Transform.from_matrix(
        outcome.fixed_to_moving,
        fixed.size,
        moving.size,
        fixed_geometry=fixed.geometry,
        moving_geometry=moving.geometry,
        flags=outcome.flags,
        algorithm=ALGORITHM,
        displacement_field=None if field is None else field.displacements,
    )
    back = Warp(inverted(outcome.fixed_to_moving), None if field is None else field.inverse)
    dice = zip(outcome.before.target_dice, outcome.after.target_dice, masks, strict=True)
    return Registration(
        transform=transform,
        match_loss_before=outcome.before.match_loss,
        match_loss_after=outcome.after.match_loss,
        overlap_fraction=outcome.after.overlap_fraction,
        stages=outcome.stages,
        targets=tuple(
            TargetReport(before, after, in_fixed, in_moving) for before, after, (in_fixed, in_moving) in dice
        ),
        total_ms=total_ms,
        inverse=Transform.from_warp(
            back, transform.moving_grid, transform.fixed_grid, flags=transform.flags, algorithm=ALGORITHM
        ),
        inverse_residual_px=0.0 if field is None else field.inverse_residual_px,
        deformation=None
        if field is None
        else DeformationReport(field.folding_fraction, *field.jacobian_range, field.bending_energy),
        landmark_errors_px=outcome.after.landmark_error_px,
        distinctness=outcome.standing.distinctness,
    )
