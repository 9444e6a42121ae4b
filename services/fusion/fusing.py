"""Fusing a moving image into a fixed one: grey levels, resampling, pyramid, flags drawn in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hilum.codec.fusion import MappedImage
from hilum.intensity import grey_levels, valid_pixels
from hilum.transform import Transform
from hilum.types import BoolMask
from services.fusion.burning import burn
from services.fusion.pyramid import FusionRule, fuse_images
from services.fusion.resampling import resample

Grey = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Fused:
    """A fused image on the fixed grid, (height, width).

    Attributes:
        fused: uint8, with the transform's flags drawn in.
        fixed: The fixed image's grey levels, uint8.
        moving: The moving image's grey levels on the fixed grid, uint8, 0 where it has no pixels.
        coverage: Where the moving image has pixels.
    """

    fused: Grey
    fixed: Grey
    moving: Grey
    coverage: BoolMask


def fuse(fixed: MappedImage, moving: MappedImage, transform: Transform, rule: FusionRule) -> Fused:
    """Returns the two images fused on the fixed grid.

    Raises:
        InvalidTensor: Identity mapping of pixels that are not uint8.
    """
    fixed_grey = grey_levels(fixed.image, fixed.mapping)
    resampled = resample(
        grey_levels(moving.image, moving.mapping), transform.matrix, fixed.image.size, valid=valid_pixels(moving.image)
    )
    fused = fuse_images(_unit(fixed_grey), _unit(resampled.pixels), rule, resampled.coverage)
    picture: Grey = np.rint(fused * 255).astype(np.uint8)
    return Fused(burn(picture, transform.flags), fixed_grey, resampled.pixels, resampled.coverage)


def _unit(grey: Grey) -> NDArray[np.float32]:
    return grey.astype(np.float32) / np.float32(255)
