"""The moving image on the fixed image's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hilum.types import BoolMask, Pixels


@dataclass(frozen=True, eq=False)
class Resampled:
    """An image on the fixed grid.

    Attributes:
        pixels: (height, width) of the fixed image, the moving image's dtype.
        coverage: bool (height, width), where the moving image has pixels that count.
    """

    pixels: Pixels
    coverage: BoolMask


def resample(
    moving: Pixels,
    fixed_to_moving: NDArray[np.float64],
    fixed_size: tuple[int, int],
    *,
    nearest: bool = False,
    background: float = 0.0,
    valid: BoolMask | None = None,
) -> Resampled:
    """Sample the moving image where each pixel of the fixed grid lies in it.

    Values are the image's own, at exact positions: nothing is averaged where the fixed grid is coarser. An image
    reaches half a pixel beyond the centres of its outer pixels; there it continues with their values.

    Args:
        moving: (height, width), any real dtype or bool.
        fixed_to_moving: 3x3 affine on (x, y, 1), pixel centres at integers.
        fixed_size: (height, width) of the fixed image.
        nearest: take the nearest pixel, for labels; else interpolate linearly. bool is always nearest.
        background: value where nothing is covered.
        valid: bool (height, width) of the moving image, false for padding, which is not mixed into its neighbours.
    """
    order = 0 if nearest or moving.dtype == np.bool_ else 1
    coverage = _inside(moving.shape, fixed_to_moving, fixed_size)
    source = moving.astype(np.float64)
    if valid is None:
        values = _sample(source, fixed_to_moving, fixed_size, order)
    else:
        weight = _sample(valid.astype(np.float64), fixed_to_moving, fixed_size, order)
        values = _sample(np.where(valid, source, 0.0), fixed_to_moving, fixed_size, order)
        values /= np.where(weight > 0, weight, 1.0)
        coverage &= weight >= 0.5
    values = np.where(coverage, values, background)
    return Resampled(_as_type(values, moving.dtype), coverage)


def resample_mask(mask: BoolMask, fixed_to_moving: NDArray[np.float64], fixed_size: tuple[int, int]) -> BoolMask:
    """A mask of the moving image on the fixed grid, false where the moving image has no pixels."""
    return np.asarray(resample(mask, fixed_to_moving, fixed_size).pixels, np.bool_)


def _inside(shape: tuple[int, ...], matrix: NDArray[np.float64], fixed_size: tuple[int, int]) -> BoolMask:
    x, y = np.arange(fixed_size[1])[None, :], np.arange(fixed_size[0])[:, None]
    column = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    row = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    # A pixel on the very edge counts, whatever rounding makes of it.
    edge = 0.5 + 1e-9
    within = (column >= -edge) & (column <= shape[1] - 1 + edge) & (row >= -edge) & (row <= shape[0] - 1 + edge)
    return np.asarray(within, np.bool_)


def _sample(
    source: NDArray[np.float64], matrix: NDArray[np.float64], fixed_size: tuple[int, int], order: int
) -> NDArray[np.float64]:
    # scipy's indices are (row, column): rows and columns of the matrix change places.
    return np.asarray(
        ndimage.affine_transform(
            source, matrix[1::-1, 1::-1], matrix[1::-1, 2], fixed_size, order=order, mode="nearest", prefilter=False
        )
    )


def _as_type(values: NDArray[np.float64], dtype: np.dtype[Any]) -> Pixels:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
    return values.astype(dtype)
