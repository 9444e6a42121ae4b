"""Two frames to be shown in turn: what moves between them is not aligned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask


def flicker(fixed: NDArray[np.uint8], moving: NDArray[np.uint8], coverage: BoolMask) -> NDArray[np.uint8]:
    """Returns the fixed image and then the moving one, uint8 (2, height, width).

    Where the moving image has no pixels its frame shows the fixed image too: an edge there would flicker without
    meaning anything.

    Args:
        fixed: uint8 (height, width).
        moving: uint8 (height, width), on the fixed grid.
        coverage: bool (height, width), where the moving image has pixels.
    """
    return np.stack([fixed, np.where(coverage, moving, fixed)])
