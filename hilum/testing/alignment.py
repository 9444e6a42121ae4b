"""What the fake fusion service computes: shifts instead of registrations, maxima instead of pyramids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hilum.displacement_field import grid_points
from hilum.errors import NoContent
from hilum.geometry import Float
from hilum.intensity import valid_pixels
from hilum.masks import centroid
from hilum.registration_options import LandmarkPair
from hilum.types import BoolMask, Image, Pixels, ProjectionMethod
from hilum.warp import Warp

# Of water at 60 keV, per mm (NIST XCOM).
WATER_ATTENUATION_PER_MM = 0.02059


def shift_between(
    fixed: Image, moving: Image, targets: Sequence[tuple[BoolMask, BoolMask]], landmarks: Sequence[LandmarkPair]
) -> Float:
    """Returns the 3 x 3 shift that brings landmarks on one another, else targets' centroids, else what is bright.

    Raises:
        NoContent: An image is constant.
    """
    seen = bright(fixed, "fixed.pixels"), bright(moving, "moving.pixels")
    outlines = list(targets) or [seen]
    found = [(centroid(in_fixed), centroid(in_moving)) for in_fixed, in_moving in outlines]
    places = np.array([(pair.fixed_px, pair.moving_px) for pair in landmarks] or found, np.float64)
    matrix = np.eye(3)
    matrix[:2, 2] = (places[:, 1] - places[:, 0]).mean(axis=0)
    return matrix


def bright(image: Image, field: str) -> BoolMask:
    """Returns the pixels above the middle of the image's range, padding left out; NoContent where nothing is."""
    valid = valid_pixels(image)
    seen = image.pixels if valid is None else image.pixels[valid]
    if seen.size == 0 or seen.min() == seen.max():
        raise NoContent("the image is constant, so that nothing can be aligned", field=field)
    above = np.asarray(image.pixels > (float(seen.min()) + float(seen.max())) / 2)
    return above if valid is None else above & valid


def resample(
    moving: Pixels,
    fixed_to_moving: Warp,
    size: tuple[int, int],
    *,
    nearest: bool = False,
    background: float = 0.0,
    valid: BoolMask | None = None,
) -> tuple[Pixels, BoolMask]:
    """Returns the moving image's values on a grid of this (height, width), and where it has pixels.

    Args:
        moving: (height, width).
        fixed_to_moving: Grid to moving image, on (x, y) in pixels.
        size: The grid's size.
        nearest: The nearest pixel instead of bilinear.
        background: Value where the moving image has no pixels.
        valid: Where the moving image's pixels count.
    """
    column, row = fixed_to_moving.apply(grid_points(size)).T.reshape(2, *size)
    height, width = moving.shape
    covered = (column >= -0.5) & (column <= width - 0.5) & (row >= -0.5) & (row <= height - 0.5)
    weights = np.ones(moving.shape) if valid is None else valid.astype(np.float64)
    share = _sampled(weights, row, column, nearest=nearest)
    values = _sampled(moving * weights, row, column, nearest=nearest) / np.where(share > 0, share, 1.0)
    covered &= share >= 0.5
    if moving.dtype.kind in "iuf":
        limits = np.iinfo(moving.dtype) if moving.dtype.kind in "iu" else np.finfo(moving.dtype)
        background = float(np.clip(background, limits.min, limits.max))
    values = np.where(covered, values, background)
    return (np.rint(values) if moving.dtype.kind in "iu" else values).astype(moving.dtype), covered


def project(
    voxels: Pixels,
    *,
    along: int,
    method: ProjectionMethod,
    spacing_mm: float,
    slab: tuple[int, int] | None,
    padding_value: float | None,
) -> NDArray[np.float32]:
    """Returns the projection of voxels (depth, height, width) along one of their array axes, float32.

    Args:
        voxels: The volume.
        along: 0, 1 or 2.
        method: How rays become pixels.
        spacing_mm: Distance of voxels along the rays, for ATTENUATION.
        slab: Half-open range of indices along the rays.
        padding_value: Left out, or air for ATTENUATION.
    """
    begin, end = slab or (0, voxels.shape[along])
    rays = np.moveaxis(voxels, along, 0)[begin:end].astype(np.float64)
    seen = np.ones(rays.shape, np.bool_) if padding_value is None else rays != padding_value
    if method is ProjectionMethod.ATTENUATION:
        relative = np.maximum(1 + np.where(seen, rays, -1000) / 1000, 0)
        pixels = relative.sum(axis=0) * spacing_mm * WATER_ATTENUATION_PER_MM
    elif method is ProjectionMethod.MEAN:
        pixels = np.where(seen, rays, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    else:
        pixels = np.where(seen, rays, -np.inf).max(axis=0)
    usable = seen.any(axis=0)
    pixels[~usable] = pixels[usable].min() if usable.any() else 0.0
    return np.asarray(pixels, np.float32)


def edge_difference(fixed: Pixels, moving: Pixels, usable: BoolMask) -> float:
    """Returns the mean difference of gradient magnitudes of two images, each scaled to [0, 1]."""
    if not usable.any():
        return 0.0
    edges = [np.hypot(*np.gradient(np.pad(_scaled(image, usable), 1, mode="edge"))) for image in (fixed, moving)]
    return float(np.abs(edges[0] - edges[1])[1:-1, 1:-1][usable].mean())


def dice(first: BoolMask, second: BoolMask) -> float:
    """Returns the Dice coefficient, 1 for two empty masks."""
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else 1.0


def _scaled(image: Pixels, usable: BoolMask) -> Float:
    values = image.astype(np.float64)
    low, high = values[usable].min(), values[usable].max()
    scaled: Float = np.clip((values - low) / (high - low or 1.0), 0, 1)
    return scaled


def _sampled(values: Float, row: Float, column: Float, *, nearest: bool) -> Float:
    height, width = values.shape
    row, column = np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)
    if nearest:
        near: Float = values[np.rint(row).astype(np.intp), np.rint(column).astype(np.intp)]
        return near
    top, left = np.floor(row).astype(np.intp), np.floor(column).astype(np.intp)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = row - top, column - left
    upper = values[top, left] * (1 - across) + values[top, right] * across
    lower = values[bottom, left] * (1 - across) + values[bottom, right] * across
    between: Float = upper * (1 - down) + lower * down
    return between
