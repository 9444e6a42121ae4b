"""A checkerboard of two images, whose outlines run on across the tiles where the images agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hilum.types import BoolMask

TILES = 8


def checkerboard(
    fixed: NDArray[np.uint8], moving: NDArray[np.uint8], coverage: BoolMask, tile_px: int | None = None
) -> NDArray[np.uint8]:
    """Returns the fixed image with every other tile from the moving image, where that has pixels.

    Args:
        fixed: uint8 (height, width); the tile in the upper left corner is of it.
        moving: uint8 (height, width), on the fixed grid.
        coverage: bool (height, width), where the moving image has pixels.
        tile_px: side of a tile; None for an eighth of the longer side, rounded up.
    """
    height, width = fixed.shape
    side = tile_px or -(-max(height, width) // TILES)
    rows, columns = np.arange(height)[:, None] // side, np.arange(width)[None] // side
    return np.where(((rows + columns) % 2 == 1) & coverage, moving, fixed)
