"""What a registration is asked for, and what is known before it begins."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from hilum.errors import InvalidField
from services.fusion.registration.canvas import RegistrationImage

_LEAST_DETERMINANT = 1e-6


class TransformModel(Enum):
    """The transformations that are considered.

    RIGID and SIMILARITY speak of lengths in mm where both images have spacing; else each image's longer side is taken
    to be equally long.
    """

    RIGID = "rigid"
    SIMILARITY = "similarity"
    AFFINE = "affine"
    DEFORMABLE = "deformable"


class DrivingMeasure(Enum):
    """What is climbed.

    Attributes:
        STRUCTURE: MIND-SSC and normalised gradients: for images of different modalities.
        MUTUAL_INFORMATION: for images whose intensities depend on each other in one way everywhere.
        MATCH_LOSS: difference of Sobel magnitudes: for images of one modality, or for comparison.
    """

    STRUCTURE = "structure"
    MUTUAL_INFORMATION = "mutual information"
    MATCH_LOSS = "match loss"


@dataclass(frozen=True)
class LandmarkPair:
    """A point that a person found in both images.

    Attributes:
        fixed_px: (x, y) in the fixed image, pixel centres at integers.
        moving_px: (x, y) in the moving image.
        weight: against other pairs; positive.
    """

    fixed_px: tuple[float, float]
    moving_px: tuple[float, float]
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class RegistrationOptions:
    """Options of one registration.

    Attributes:
        model: the transformations that are considered. A slab and a projection never get more than SIMILARITY.
        measure: what is climbed.
        initial: float64 (3, 3), fixed pixels to moving pixels on (x, y, 1): where to begin instead of searching.
        landmarks: points that should meet; they pull strongly at first, weakly at last.
        rigid_region: bool (height, width) of the fixed image: bone, which may turn but not bend or stretch.
    """

    model: TransformModel = TransformModel.AFFINE
    measure: DrivingMeasure = DrivingMeasure.STRUCTURE
    initial: NDArray[np.float64] | None = None
    landmarks: tuple[LandmarkPair, ...] = field(default=())
    rigid_region: NDArray[np.bool_] | None = None

    def check(self, fixed: RegistrationImage, moving: RegistrationImage) -> None:
        """Refuse what cannot be followed.

        Raises:
            InvalidField: a matrix is singular or not affine, a landmark lies outside its image, a mask has another
                shape.
        """
        if self.initial is not None:
            _check_initial(self.initial)
        for index, pair in enumerate(self.landmarks):
            for name, point, image in (("fixed", pair.fixed_px, fixed), ("moving", pair.moving_px, moving)):
                height, width = image.pixels.shape
                if not (-0.5 <= point[0] <= width - 0.5 and -0.5 <= point[1] <= height - 0.5):
                    raise InvalidField(
                        f"{point} lies outside the image of {width} x {height} px", field=f"landmarks[{index}].{name}"
                    )
            if not (np.isfinite(pair.weight) and pair.weight > 0):
                raise InvalidField(f"must be positive, is {pair.weight}", field=f"landmarks[{index}].weight")
        region = self.rigid_region
        if region is not None and region.shape != fixed.pixels.shape:
            raise InvalidField(f"has shape {region.shape}, the fixed image {fixed.pixels.shape}", field="rigid_region")


def _check_initial(matrix: NDArray[np.float64]) -> None:
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise InvalidField("needs 3 x 3 finite numbers", field="initial_transform")
    if not np.allclose(matrix[2], (0, 0, 1)):
        raise InvalidField("must be affine: its last row is 0, 0, 1", field="initial_transform")
    determinant = float(np.linalg.det(matrix[:2, :2]))
    if abs(determinant) < _LEAST_DETERMINANT:
        raise InvalidField(
            f"is singular (determinant {determinant:.3g}): it maps the image onto a line", field="initial_transform"
        )
