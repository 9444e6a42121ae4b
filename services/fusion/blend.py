"""An alpha blend of two images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask


def alpha_blend(
    fixed: NDArray[np.uint8], moving: NDArray[np.uint8], coverage: BoolMask, opacity: float
) -> NDArray[np.uint8]:
    """Returns the weighted mean of both, uint8 (height, width); the fixed image where the moving one has no pixels.

    Args:
        fixed: uint8 (height, width).
        moving: uint8 (height, width), on the fixed grid.
        coverage: bool (height, width), where the moving image has pixels.
        opacity: in [0, 1], the moving image's weight.
    """
    weight = np.where(coverage, np.float32(opacity), np.float32(0))
    below = fixed.astype(np.float32)
    return np.asarray(np.rint(below + weight * (moving - below)), np.uint8)
