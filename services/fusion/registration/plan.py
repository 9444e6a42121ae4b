"""Which stages a registration goes through, and their settings.

The settings were chosen on the development pairs of `benchmarks/deformable.py`.
"""

from __future__ import annotations

from dataclasses import replace

from hilum.registration_options import RegistrationOptions, SimilarityMeasure, TransformModel
from hilum.types import ViewRelation
from services.fusion.registration.affine import AFFINE_DEGREES, RIGID_DEGREES, SIMILARITY_DEGREES, AffineLevel
from services.fusion.registration.comparison import (
    Compare,
    compare_edge_strength,
    compare_gradients,
    compare_information,
    compare_mind,
    compare_structure,
)
from services.fusion.registration.free_form import FreeFormLevel
from services.fusion.registration.search import SearchGrid
from services.fusion.registration.stages import AffineStage, FreeFormStage, SearchStage, Stage

COARSEST, JUDGED, FINEST = 64, 128, 256

# Around targets, whose place is known, a search can afford to turn farther.
_ROTATIONS_AROUND_TARGETS_DEG = (0.0, *(sign * 5.0 * step for step in range(1, 10) for sign in (-1, 1)))

_DEGREES = {
    TransformModel.RIGID: RIGID_DEGREES,
    TransformModel.SIMILARITY: SIMILARITY_DEGREES,
    TransformModel.AFFINE: AFFINE_DEGREES,
    TransformModel.DEFORMABLE: AFFINE_DEGREES,
}
# What is climbed at coarse and middle resolution, and at the finest.
_MEASURES: dict[SimilarityMeasure, tuple[Compare, Compare]] = {
    SimilarityMeasure.STRUCTURE: (compare_structure, compare_gradients),
    SimilarityMeasure.MUTUAL_INFORMATION: (compare_information, compare_information),
    SimilarityMeasure.MATCH_LOSS: (compare_edge_strength, compare_edge_strength),
}


# What the bending energy weighs beside each.
_STIFFNESS = {
    SimilarityMeasure.STRUCTURE: 1.0,
    SimilarityMeasure.MUTUAL_INFORMATION: 50.0,
    SimilarityMeasure.MATCH_LOSS: 0.02,
}


def image_stages(views: ViewRelation, options: RegistrationOptions, grid: SearchGrid) -> tuple[Stage, ...]:
    """What finds an alignment from image content, an initial transform and landmarks; targets play no part.

    A slab and a projection share few outlines: they end at a similarity.
    """
    refinement = refinement_stages(views, options)
    if options.initial is not None:
        return refinement
    degrees, (coarse, _) = _degrees(views, options), _MEASURES[options.measure]
    if degrees == RIGID_DEGREES:
        grid = replace(grid, scales=(1.0,))
    brief = AffineLevel(COARSEST, 5, coarse, degrees, landmark_weight=1.0)
    return (SearchStage(COARSEST, grid, brief), *refinement)


def refinement_stages(views: ViewRelation, options: RegistrationOptions) -> tuple[Stage, ...]:
    """What improves an alignment by image content and landmarks."""
    degrees, comparable = _degrees(views, options), views is ViewRelation.COMPARABLE
    coarse, fine = _MEASURES[options.measure]
    levels = [
        AffineLevel(COARSEST, 8, coarse, degrees, landmark_weight=1.0),
        AffineLevel(JUDGED, 8, coarse, degrees, landmark_weight=0.3),
    ]
    # Where the body bends, the last pixel of an affine alignment is not worth its time.
    if comparable and options.model is not TransformModel.DEFORMABLE:
        levels.append(AffineLevel(FINEST, 6, fine, degrees, landmark_weight=0.1))
    stages: list[Stage] = [AffineStage(tuple(levels))]
    if comparable and options.model is TransformModel.DEFORMABLE:
        stages += _free_form_stages(options)
    return tuple(stages)


def _degrees(views: ViewRelation, options: RegistrationOptions) -> int:
    degrees = _DEGREES[options.model]
    return degrees if views is ViewRelation.COMPARABLE else min(degrees, SIMILARITY_DEGREES)


def target_stages(options: RegistrationOptions, grid: SearchGrid) -> tuple[Stage, ...]:
    """What finds a place for comparable views by targets, which pull less and less; `refinement_stages` follow."""
    degrees, (coarse, _) = _DEGREES[options.model], _MEASURES[options.measure]
    if degrees == RIGID_DEGREES:
        grid = replace(grid, scales=(1.0,))
    grid = replace(grid, rotations_deg=_ROTATIONS_AROUND_TARGETS_DEG)
    brief = AffineLevel(COARSEST, 5, coarse, degrees, target_weight=1.0, landmark_weight=1.0)
    levels = (
        AffineLevel(COARSEST, 8, coarse, degrees, target_weight=1.0, landmark_weight=1.0),
        AffineLevel(JUDGED, 8, coarse, degrees, target_weight=0.3, landmark_weight=0.3),
    )
    return (
        SearchStage(COARSEST, grid, brief, freely=False, from_targets=True, from_landmarks=False, from_start=True),
        AffineStage(levels),
    )


def rival_stages(
    options: RegistrationOptions, grid: SearchGrid, turn_deg: float, scale: float
) -> tuple[SearchStage, FreeFormStage]:
    """What places an image that cannot be right, about this turn and of this scale, briefly; and what bends it."""
    coarse, _ = _MEASURES[options.measure]
    near = replace(grid, rotations_deg=tuple(turn_deg + angle for angle in grid.rotations_deg), scales=(scale,))
    refinement = AffineLevel(COARSEST, 5, coarse, _DEGREES[options.model])
    search = SearchStage(COARSEST, near, refinement, from_landmarks=False, keep=1)
    return search, _free_form_stages(options)[0]


def _free_form_stages(options: RegistrationOptions) -> list[FreeFormStage]:
    """MIND finds the way, gradients the place; bending is held less and less, and landmarks pull less and less."""
    _, fine = _MEASURES[options.measure]
    coarse = compare_mind if options.measure is SimilarityMeasure.STRUCTURE else fine
    stiff = options.stiffness * _STIFFNESS[options.measure]
    levels = (
        FreeFormLevel(COARSEST, 8, 20, coarse, 3e-3 * stiff, 1.0, 1.0),
        FreeFormLevel(JUDGED, 16, 10, coarse, 3e-3 * stiff, 0.3, 1.0),
        FreeFormLevel(JUDGED, 16, 10, fine, 1e-3 * stiff, 0.1, 1.0),
        FreeFormLevel(FINEST, 16, 10, fine, 5e-4 * stiff, 0.1, 1.0),
    )
    return [FreeFormStage(level, f"deformation {number}") for number, level in enumerate(levels, 1)]
