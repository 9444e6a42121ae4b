"""A moving volume on the fixed volume's grid, computed here: no volume has to travel for it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from hilum.displacement_field import grid_points
from hilum.geometry import Float
from hilum.transform import Transform
from hilum.types import BoolMask, Pixels, Volume


@dataclass(frozen=True, eq=False)
class ResampledVolume:
    """A volume on another's grid.

    Attributes:
        volume: Of the moving volume's data type, linear between voxels; where it shows nothing its padding value, or
            else its least value.
        coverage: (depth, height, width), where the moving volume has voxels.
    """

    volume: Volume
    coverage: BoolMask


def resampled(moving: Volume, transform: Transform) -> ResampledVolume:
    """Returns the moving volume on the fixed volume's grid, slice by slice."""
    depth, height, width = shape = transform.fixed_grid.size
    background = moving.voxels.min() if moving.padding_value is None else moving.padding_value
    voxels, coverage = np.full(shape, background, moving.voxels.dtype), np.zeros(shape, np.bool_)
    in_slice = grid_points((1, height, width))
    last = np.array(moving.voxels.shape[::-1]) - 1
    for number in range(depth):
        places = transform.apply(in_slice + np.array([0.0, 0.0, number]))
        inside = ((places >= -0.5) & (places <= last + 0.5)).all(axis=1)
        values = _interpolated(moving.voxels, np.clip(places[inside], 0, last)[:, ::-1])
        shown = inside.reshape(height, width)
        voxels[number][shown] = np.rint(values) if moving.voxels.dtype.kind in "iu" else values
        coverage[number] = shown
    geometry = transform.fixed_grid.geometry
    return ResampledVolume(Volume(voxels, geometry, moving.padding_value, moving.source), coverage)


def _interpolated(voxels: Pixels, index: Float) -> Float:
    """Values (n,) at array indices (n, 3) within the volume."""
    lower = np.minimum(np.floor(index), np.maximum(np.array(voxels.shape) - 2, 0)).astype(np.intp)
    share = index - lower
    found = np.zeros(len(index))
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.where(corner, share, 1 - share).prod(axis=1)
        place = np.minimum(lower + corner, np.array(voxels.shape) - 1)
        found += weight * voxels[tuple(place.T)]
    return found
