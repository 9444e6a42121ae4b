"""Which stages a registration of volumes goes through, and their settings.

The settings were chosen on the development pairs of `benchmarks/volumes.py`.
"""

from __future__ import annotations

from dataclasses import replace

from hilum.registration_options import TransformModel
from services.fusion.volume_registration.affine import (
    AFFINE_DEGREES,
    RIGID_DEGREES,
    SIMILARITY_DEGREES,
    AffineLevel,
)
from services.fusion.volume_registration.free_form import FreeFormLevel
from services.fusion.volume_registration.normal_equations import Measure
from services.fusion.volume_registration.search import SearchGrid
from services.fusion.volume_registration.stages import AffineStage, FreeFormStage, SearchStage, Stage
from services.fusion.volume_registration.workspace import SIZES

COARSEST, JUDGED, FINEST = SIZES
_VOXELS_PER_INTERVAL = 8

_DEGREES = {
    TransformModel.RIGID: RIGID_DEGREES,
    TransformModel.SIMILARITY: SIMILARITY_DEGREES,
    TransformModel.AFFINE: AFFINE_DEGREES,
    TransformModel.DEFORMABLE: AFFINE_DEGREES,
}


def volume_stages(
    model: TransformModel,
    grid: SearchGrid,
    finest: int,
    *,
    stiffness: float = 1.0,
    searched: bool = True,
    in_place: bool = False,
) -> tuple[Stage, ...]:
    """The stages that find an alignment.

    Args:
        model: which transformations are considered.
        grid: what the search tries.
        finest: side of the finest canvas in voxels; what a coarser one cannot show is left out.
        stiffness: how strongly bending is held back, against the default.
        searched: begin with a search; without, with the start.
        in_place: the two volumes share a frame of reference, so that the search considers patient coordinates.
    """
    degrees = _DEGREES[model]
    stages: list[Stage] = []
    if searched:
        # A few steps that only turn and shift keep a poor start from being stretched onto the wrong place.
        brief = AffineLevel(COARSEST, 6, Measure.MIND, min(degrees, SIMILARITY_DEGREES))
        stages.append(SearchStage(COARSEST, grid, brief, in_place))
    levels = [AffineLevel(COARSEST, 10, Measure.MIND, degrees), AffineLevel(JUDGED, 8, Measure.MIND, degrees)]
    # Where the body bends, the last tenth of a voxel of an affine alignment is not worth its time.
    if model is not TransformModel.DEFORMABLE:
        levels.append(AffineLevel(FINEST, 4, Measure.GRADIENTS, degrees))
    stages.append(AffineStage(tuple(levels)))
    if model is TransformModel.DEFORMABLE:
        stages += _free_form_stages(stiffness, finest)
    return tuple(stages)


def _free_form_stages(stiffness: float, finest: int) -> list[FreeFormStage]:
    """MIND finds the way, gradients the place."""
    levels = (
        (FreeFormLevel(JUDGED, 8, 8, Measure.MIND, 1e-3), 2.0),
        (FreeFormLevel(FINEST, 16, 5, Measure.GRADIENTS, 1e-3), 9.0),
    )
    stages = []
    for number, (level, share) in enumerate(levels, 1):
        size = min(level.size, finest)
        intervals = min(level.intervals, size // _VOXELS_PER_INTERVAL)
        fitted = replace(level, size=size, intervals=intervals, bending=stiffness * level.bending)
        stages.append(FreeFormStage(fitted, f"deformation {number}", share))
    return stages
