"""What a registration is asked for, and what is known before it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from hilum.errors import InvalidField, LimitExceeded, OutsideImage
from hilum.transform import Size, Transform
from hilum.types import BoolMask

MAX_LANDMARKS = 100
_LARGEST_WEIGHT = 1000.0
_STIFFNESS = (0.01, 100.0)
LEAST_DETERMINANT = 1e-6
"""Of an initial transform between pixels, below which it counts as singular."""


class TransformModel(Enum):
    """The transformations that are considered; see the contract."""

    RIGID = 1
    SIMILARITY = 2
    AFFINE = 3
    DEFORMABLE = 4


class SimilarityMeasure(Enum):
    """What is climbed.

    Attributes:
        STRUCTURE: MIND-SSC and normalised gradients: for images of different modalities.
        MUTUAL_INFORMATION: For images whose intensities depend on each other in one way everywhere.
        MATCH_LOSS: Difference of Sobel magnitudes: for images of one modality, or for comparison.
    """

    STRUCTURE = 1
    MUTUAL_INFORMATION = 2
    MATCH_LOSS = 3


@dataclass(frozen=True)
class LandmarkPair:
    """A point that a person found in both images.

    Attributes:
        fixed_px: (x, y) in the fixed image, pixel centres at integers.
        moving_px: (x, y) in the moving image.
        weight: Against other pairs; above 0, at most 1000.
    """

    fixed_px: tuple[float, float]
    moving_px: tuple[float, float]
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class RegistrationOptions:
    """Options of one registration.

    Attributes:
        model: The transformations that are considered. A slab and a projection never get more than SIMILARITY.
        measure: What is climbed.
        initial: Where to begin instead of searching: affine, between images of these sizes.
        landmarks: Points that should meet; they pull strongly at first, weakly at last. At most 100.
        rigid_region: bool (height, width) of the fixed image: bone, which may turn but not bend or stretch. DEFORMABLE
            only.
        stiffness: How strongly bending is held back, against the default; from 0.01 to 100. DEFORMABLE only.
    """

    model: TransformModel = TransformModel.AFFINE
    measure: SimilarityMeasure = SimilarityMeasure.STRUCTURE
    initial: Transform | None = None
    landmarks: tuple[LandmarkPair, ...] = ()
    rigid_region: BoolMask | None = None
    stiffness: float = 1.0

    def check(self, fixed_size: Size, moving_size: Size) -> None:
        """Refuses what cannot be followed between images of these (height, width).

        Raises:
            InvalidField: The initial transform is deformable, singular or of other sizes, a weight or the stiffness is
                out of range, a mask has another shape, or an option is given that the model has no use for.
            OutsideImage: A landmark lies outside its image.
            LimitExceeded: More than 100 landmarks.
        """
        if self.initial is not None:
            _check_initial(self.initial, fixed_size, moving_size)
        if len(self.landmarks) > MAX_LANDMARKS:
            raise LimitExceeded(f"{len(self.landmarks)} pairs; at most {MAX_LANDMARKS}", field="landmarks")
        for index, pair in enumerate(self.landmarks):
            check_landmark(pair, f"landmarks[{index}]", fixed_size, moving_size)
        region = self.rigid_region
        if region is not None and region.shape != fixed_size:
            raise InvalidField(f"has shape {region.shape}, the fixed image {fixed_size}", field="rigid_region")
        if self.model is not TransformModel.DEFORMABLE and region is not None:
            raise InvalidField("is for transform_model DEFORMABLE only", field="rigid_region")
        check_stiffness(self.stiffness, self.model)


def check_stiffness(stiffness: float, model: TransformModel, *, field: str = "stiffness") -> None:
    """Refuses a stiffness out of range, or for a model that does not bend.

    Raises:
        InvalidField: It does not lie in [0.01, 100], or is given without DEFORMABLE.
    """
    if not _STIFFNESS[0] <= stiffness <= _STIFFNESS[1]:
        raise InvalidField(f"must lie in [{_STIFFNESS[0]:g}, {_STIFFNESS[1]:g}]", field=field)
    if model is not TransformModel.DEFORMABLE and stiffness != 1.0:
        raise InvalidField("is for transform_model DEFORMABLE only", field=field)


def _check_initial(initial: Transform, fixed_size: Size, moving_size: Size) -> None:
    field = "initial_transform"
    if initial.displacement_field is not None:
        raise InvalidField("is deformable; begin with an affine one", field=field)
    if (initial.fixed_grid.size, initial.moving_grid.size) != (fixed_size, moving_size):
        raise InvalidField(
            f"is of images {initial.fixed_grid.size} and {initial.moving_grid.size}, these have {fixed_size} and "
            f"{moving_size}",
            field=field,
        )
    determinant = float(np.linalg.det(initial.matrix[:2, :2]))
    if abs(determinant) < LEAST_DETERMINANT:
        raise InvalidField(f"is singular (determinant {determinant:.3g}): it maps the image onto a line", field=field)


def check_landmark(pair: LandmarkPair, field: str, fixed_size: Size, moving_size: Size) -> None:
    """Refuses a pair outside images of these (height, width), or of an impossible weight.

    Raises:
        OutsideImage: A point lies outside its image.
        InvalidField: The weight is out of range.
    """
    for name, (x, y), (height, width) in (
        ("in_fixed", pair.fixed_px, fixed_size),
        ("in_moving", pair.moving_px, moving_size),
    ):
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise OutsideImage(
                f"({x:g}, {y:g}) lies outside the image of {width} x {height} px", field=f"{field}.{name}"
            )
    if not (math.isfinite(pair.weight) and 0 < pair.weight <= _LARGEST_WEIGHT):
        raise InvalidField(f"must be above 0 and at most {_LARGEST_WEIGHT:g}", field=f"{field}.weight")
