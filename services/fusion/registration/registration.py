"""Registration of two planar images: stages propose, agreement decides, figures are reported."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.errors import InvalidField
from hilum.types import RegistrationProgress, StageReport, ViewRelation
from services.fusion.quality import body_mask, match_loss, overlap_fraction, target_dice
from services.fusion.registration.affine import SIMILARITY_DEGREES, AffineLevel
from services.fusion.registration.agreement import Agreement
from services.fusion.registration.alignment import Alignment, warp
from services.fusion.registration.canvas import RegistrationImage
from services.fusion.registration.search import SearchGrid
from services.fusion.registration.similarity import Measure, gradient_measure, structure_measure
from services.fusion.registration.stages import AffineStage, SearchStage, Stage
from services.fusion.registration.workspace import Workspace
from services.fusion.resampling import resample_mask

ALGORITHM = "hilum-affine-1"
"""Changes with every change that changes results."""

_COARSEST, _JUDGED, _FINEST = 64, 128, 256
_MIN_OVERLAP = 0.5
_MIN_DICE = 0.5
_HALF_ROTATION_STEP_DEG = 2.5
_HALF_SCALE_STEP = 0.04
# Comparable views of one body reached .11 to .25, of different bodies at most .05; slabs that were registered right
# .039 to .059, wrong at most .027.
_MIN_DISTINCTNESS = {ViewRelation.COMPARABLE: 0.08, ViewRelation.SLAB_AND_PROJECTION: 0.035}


@dataclass(frozen=True, eq=False)
class Fit:
    """How well the images fit under one alignment.

    Attributes:
        similarity: MIND-SSC and normalised gradient fields, in [0, 1], plus .3 times the mean Dice of targets.
        mutual_information: in nats; a second opinion that drives nothing.
        match_loss: see `quality.match_loss`, on a canvas of 256 pixels across.
        overlap_fraction: share of the fixed image's body that the moving image covers.
        target_dice: per target, on the fixed grid.
    """

    similarity: float
    mutual_information: float
    match_loss: float
    overlap_fraction: float
    target_dice: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class RegistrationOutcome:
    """What a registration found.

    Attributes:
        fixed_to_moving: float64 (3, 3), affine, on (x, y, 1) in pixels, centres at integers.
        flags: sorted names of hilum.v1.TransformFlag.
        stages: what each stage did.
        before: the fit of the start: the images' centres on each other, in mm where both have spacing.
        after: the fit of the result.
        distinctness: how far the result stands out from its neighbours; see `Agreement.distinctness`.
    """

    fixed_to_moving: NDArray[np.float64]
    flags: tuple[str, ...]
    stages: tuple[StageReport, ...]
    before: Fit
    after: Fit
    distinctness: float


def comparable_stages(grid: SearchGrid) -> tuple[Stage, ...]:
    """For views that share their outlines: all of an affine transform, targets lead the way but not the end."""
    brief = AffineLevel(64, 10, 0.02, structure_measure, target_weight=0.3)
    levels = (
        AffineLevel(64, 20, 0.01, structure_measure, target_weight=0.3),
        AffineLevel(128, 20, 0.006, structure_measure, target_weight=0.1),
        AffineLevel(256, 12, 0.002, gradient_measure),
    )
    return SearchStage(_COARSEST, grid, brief, from_targets=True), AffineStage(levels)


def differing_stages(grid: SearchGrid, measure: Callable[[Tensor], Measure] = structure_measure) -> tuple[Stage, ...]:
    """For a slab and a projection: rotation, one scale and translation, which few shared outlines can settle.

    Targets are not used: an organ's outline in a slab is not its outline in a projection.

    Args:
        grid: what the search tries.
        measure: what is climbed; mutual information was tried and found worse (docs/adr).
    """
    brief = AffineLevel(64, 10, 0.02, measure, SIMILARITY_DEGREES)
    levels = (
        AffineLevel(64, 20, 0.01, measure, SIMILARITY_DEGREES),
        AffineLevel(128, 20, 0.006, measure, SIMILARITY_DEGREES),
    )
    return SearchStage(_COARSEST, grid, brief), AffineStage(levels)


class Registration:
    """Registers pairs of images.

    Args:
        grid: what the search tries, and beyond which a deformation counts as large.
        stages: what is done in turn, for each relation of views; `comparable_stages` and `differing_stages` when
            absent.
        threads: torch's threads within an operation, for the whole process; on images of this size one is fastest.
    """

    def __init__(
        self,
        grid: SearchGrid | None = None,
        stages: Mapping[ViewRelation, Sequence[Stage]] | None = None,
        *,
        threads: int = 1,
    ) -> None:
        self._grid = grid or SearchGrid()
        self._threads = threads
        self._stages = stages or {
            ViewRelation.COMPARABLE: comparable_stages(self._grid),
            ViewRelation.SLAB_AND_PROJECTION: differing_stages(self._grid),
        }

    def run(
        self, fixed: RegistrationImage, moving: RegistrationImage, views: ViewRelation
    ) -> Generator[RegistrationProgress, None, RegistrationOutcome]:
        """Yield progress while working; return the outcome. Close the generator to stop.

        Args:
            fixed: the image whose grid the result is shown on.
            moving: the image that is brought onto it; as many targets.
            views: how the two see the body.

        Raises:
            InvalidField: shapes, spacings or the numbers of targets do not fit.
            NoContent: an image is constant or a target empty.
        """
        fixed.check("fixed")
        moving.check("moving")
        if len(fixed.targets) != len(moving.targets):
            raise InvalidField(
                f"{len(fixed.targets)} in the fixed image, {len(moving.targets)} in the moving", field="targets"
            )
        torch.set_num_threads(self._threads)
        workspace = Workspace(fixed, moving, _FINEST, _COARSEST)
        agreement = Agreement(workspace.at(_JUDGED), with_targets=views is ViewRelation.COMPARABLE)
        start = Alignment.identity()
        alignment, reports = yield from _follow(self._stages[views], workspace, agreement, start)
        examination = _Examination(fixed, moving, workspace, agreement)
        before, after = examination.fit(start), examination.fit(alignment)
        distinctness = agreement.distinctness(alignment)
        flags = {"VIEWS_DIFFER"} if views is ViewRelation.SLAB_AND_PROJECTION else set[str]()
        flags |= _doubts(after, distinctness, views)
        if _beyond(alignment, self._grid):
            flags.add("LARGE_DEFORMATION")
        return RegistrationOutcome(
            workspace.fixed_to_moving_px(alignment), tuple(sorted(flags)), reports, before, after, distinctness
        )


def _follow(
    stages: Sequence[Stage], workspace: Workspace, agreement: Agreement, start: Alignment
) -> Generator[RegistrationProgress, None, tuple[Alignment, tuple[StageReport, ...]]]:
    """Run the stages; keep a proposal only where it agrees no worse than what was there before."""
    total, done = sum(stage.share for stage in stages), 0.0
    alignment, reports = start, []
    for stage in stages:
        steps = stage.run(workspace, alignment, agreement)
        while True:
            try:
                step = next(steps)
            except StopIteration as finished:
                proposal: Alignment = finished.value
                break
            fraction = (done + step.fraction * stage.share) / total
            yield RegistrationProgress(stage.name, fraction, step.similarity)
        done += stage.share
        before, after = agreement.of(alignment), agreement.of(proposal)
        reports.append(StageReport(stage.name, after >= before, before, after))
        if after >= before:
            alignment = proposal
    return alignment, tuple(reports)


class _Examination:
    """Takes the figures of alignments, on the finest canvas: what they cost and mean does not depend on image size."""

    def __init__(
        self, fixed: RegistrationImage, moving: RegistrationImage, workspace: Workspace, agreement: Agreement
    ) -> None:
        self._fixed, self._moving = fixed, moving
        self._workspace = workspace
        self._agreement = agreement
        self._pair = workspace.at(_FINEST)
        self._usable = self._pair.fixed.valid.numpy() > 0.5
        self._body = body_mask(self._pair.fixed.pixels.numpy(), self._usable)

    def fit(self, alignment: Alignment) -> Fit:
        """How well the images fit under an alignment."""
        moving = self._pair.moving
        pixels = warp(moving.pixels[None], alignment.matrix)[0].numpy()
        covered = warp(moving.valid[None], alignment.matrix, padding="zeros")[0].numpy() > 0.5
        return Fit(
            self._agreement.of(alignment),
            self._agreement.information(alignment),
            match_loss(self._pair.fixed.pixels.numpy(), pixels, self._usable & covered),
            overlap_fraction(self._body, covered),
            self._target_dice(alignment),
        )

    def _target_dice(self, alignment: Alignment) -> tuple[float, ...]:
        matrix, size = self._workspace.fixed_to_moving_px(alignment), self._fixed.pixels.shape
        pairs = zip(self._fixed.targets, self._moving.targets, strict=True)
        return tuple(target_dice(fixed, resample_mask(moving, matrix, size)) for fixed, moving in pairs)


def _doubts(after: Fit, distinctness: float, views: ViewRelation) -> set[str]:
    doubts = set()
    if after.overlap_fraction < _MIN_OVERLAP:
        doubts.add("LOW_OVERLAP")
    if views is ViewRelation.COMPARABLE and any(dice < _MIN_DICE for dice in after.target_dice):
        doubts.add("MASKS_DISAGREE")
    if distinctness < _MIN_DISTINCTNESS[views]:
        doubts.add("NO_IMPROVEMENT")
    return doubts


def _beyond(alignment: Alignment, grid: SearchGrid) -> bool:
    """Whether rotation, scale or shift leave what was searched, by more than half a step of it."""
    linear = alignment.matrix[:2, :2].numpy()
    left, scales, right = np.linalg.svd(linear)
    rotation = left @ right
    angle = np.rad2deg(np.arctan2(rotation[1, 0], rotation[0, 0]))
    shift = alignment.matrix[:2, 2].abs().max()
    return bool(
        abs(angle) > max(grid.rotations_deg) + _HALF_ROTATION_STEP_DEG
        or scales.min() < min(grid.scales) - _HALF_SCALE_STEP
        or scales.max() > max(grid.scales) + _HALF_SCALE_STEP
        or shift > grid.max_shift
    )
