"""A moving image that runs out softly where it ends, so that its end is not fused as an edge."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask

FADE_PX = 16


def faded(fixed: NDArray[np.float32], moving: NDArray[np.float32], coverage: BoolMask) -> NDArray[np.float32]:
    """Returns the moving image, which over its outermost 16 px turns into the fixed one, and is that one beyond.

    Args:
        fixed: float32 (height, width).
        moving: the same, on the fixed grid.
        coverage: bool (height, width), where the moving image has pixels. The edge of the grid is no end.
    """
    if coverage.all():
        return moving
    distance = cv2.distanceTransform(coverage.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    weight = np.minimum(distance / np.float32(FADE_PX), np.float32(1))
    mixed = (1 - weight) * fixed + weight * moving
    # Rounding must not lead out of what both span.
    return np.asarray(np.clip(mixed, np.minimum(fixed, moving), np.maximum(fixed, moving)), np.float32)
