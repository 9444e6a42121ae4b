"""Pictures with square pixels, as models expect them: the coarser axis is resampled to the spacing of the finer one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

# Spacings that agree to this share are one.
_TOLERANCE = 1e-3


def square_size(size: tuple[int, int], spacing: tuple[float, float]) -> tuple[int, int]:
    """Returns (height, width) with square pixels.

    Args:
        size: (height, width).
        spacing: (x, y) between pixel centres, in any unit.
    """
    x, y = spacing
    finer = min(x, y)
    if abs(x - y) <= _TOLERANCE * finer:
        return size
    return round(size[0] * y / finer), round(size[1] * x / finer)


def resized_picture(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Returns a picture (height, width[, 3]) at another size, bilinear; the edges stay where they are."""
    height, width = size
    return np.asarray(PillowImage.fromarray(picture).resize((width, height), PillowImage.Resampling.BILINEAR))


def resized_labels(values: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Returns label values (height, width) at another size: of each new pixel's centre, the nearest old one."""
    rows, columns = (_nearest(new, old) for new, old in zip(size, values.shape, strict=True))
    return values[np.ix_(rows, columns)]


def _nearest(new: int, old: int) -> NDArray[np.intp]:
    return ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)
