"""A colour overlay: the fixed image in grey under the moving image in amber."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Amber keeps its difference from grey for all common kinds of colour blindness.
AMBER_RGB = (255, 176, 0)


def colour_overlay(fixed: NDArray[np.uint8], moving: NDArray[np.uint8], opacity: float) -> NDArray[np.uint8]:
    """Returns RGB in which the moving image's brightness is the amber's opacity.

    Args:
        fixed: uint8 (height, width).
        moving: uint8 (height, width), on the fixed grid; 0 where it has no pixels.
        opacity: in [0, 1], of the moving image's white.

    Returns:
        uint8 (height, width, 3). Where the moving image is black it is the fixed image in grey.
    """
    weight = (moving.astype(np.float32) * np.float32(opacity / 255))[..., None]
    grey, amber = fixed.astype(np.float32)[..., None], np.array(AMBER_RGB, np.float32)
    return np.rint(grey + weight * (amber - grey)).astype(np.uint8)
