"""The moving image on the fixed image's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hilum.displacement_field import grid_points
from hilum.types import BoolMask, Pixels
from hilum.warp import Warp


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
    fixed_to_moving: Warp,
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
        fixed_to_moving: on (x, y) in pixels, centres at integers.
        fixed_size: (height, width) of the fixed image.
        nearest: take the nearest pixel, for labels; else interpolate linearly. bool is always nearest.
        background: value where nothing is covered, clipped to what the dtype holds.
        valid: bool (height, width) of the moving image, false for padding, which is not mixed into its neighbours.
    """
    order = 0 if nearest or moving.dtype == np.bool_ else 1
    columns, rows = _places(fixed_to_moving, fixed_size)
    coverage = _inside(moving.shape, columns, rows)
    source = moving.astype(np.float64)
    if valid is None:
        values = _sample(source, columns, rows, order)
    else:
        weight = _sample(valid.astype(np.float64), columns, rows, order)
        values = _sample(np.where(valid, source, 0.0), columns, rows, order)
        values /= np.where(weight > 0, weight, 1.0)
        coverage &= weight >= 0.5
    values = np.where(coverage, values, _within(moving.dtype, background))
    return Resampled((np.rint(values) if moving.dtype.kind in "iu" else values).astype(moving.dtype), coverage)


def _places(fixed_to_moving: Warp, fixed_size: tuple[int, int]) -> NDArray[np.float64]:
    """(2, height, width): where in the moving image each pixel of the fixed image lies, (x, y)."""
    if fixed_to_moving.field is not None:
        return np.asarray(fixed_to_moving.apply(grid_points(fixed_size)).T.reshape(2, *fixed_size), np.float64)
    # Without a list of all points, which takes several times as long.
    matrix = fixed_to_moving.matrix
    x, y = np.arange(fixed_size[1])[None, :], np.arange(fixed_size[0])[:, None]
    return np.stack([matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] for axis in (0, 1)])


def _inside(shape: tuple[int, ...], columns: NDArray[np.float64], rows: NDArray[np.float64]) -> BoolMask:
    # A pixel on the very edge counts, whatever rounding makes of it.
    edge = 0.5 + 1e-9
    within = (columns >= -edge) & (columns <= shape[1] - 1 + edge) & (rows >= -edge) & (rows <= shape[0] - 1 + edge)
    return np.asarray(within, np.bool_)


def _sample(
    source: NDArray[np.float64], columns: NDArray[np.float64], rows: NDArray[np.float64], order: int
) -> NDArray[np.float64]:
    return np.asarray(ndimage.map_coordinates(source, (rows, columns), order=order, mode="nearest", prefilter=False))


def _within(dtype: np.dtype[Any], value: float) -> float:
    """The nearest value that the type can hold."""
    if dtype.kind == "b":
        return value
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return float(np.clip(value, limits.min, limits.max))
