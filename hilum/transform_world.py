"""Transforms in millimetres, as the files of other programs hold them.

Between volumes, and between slices that both lie in the patient, these are maps of LPS points. A slice's transform says
nothing about depth: in three dimensions it keeps the distance from the plane, and its displacements hold within the
slice. They are written in two equal layers, as programs take a grid of one layer for one of two dimensions. Between
other images with spacing, maps are of points (x, y) in the plane, from the centre of the first pixel.
"""

from __future__ import annotations

import numpy as np

from hilum.displacement_field import DisplacementField, grid_points
from hilum.errors import FrameNotSupported, InvalidField
from hilum.geometry import Float
from hilum.image_grid import ImageGrid
from hilum.transform import Transform
from hilum.warp import Warp, inverted

_LAYERS = 2


def is_planar(fixed: ImageGrid, moving: ImageGrid) -> bool:
    """Whether a map in mm between these has two dimensions: they are images, and one has no place in the patient."""
    return len(fixed.size) == 2 and None in (fixed.patient_frame, moving.patient_frame)


def to_world(transform: Transform, *, in_plane: bool = False) -> Warp:
    """Returns the map from fixed to moving space in mm; the axes of its displacement field's grid are perpendicular.

    Args:
        transform: With both images in the patient, or both with spacing.
        in_plane: Of slices: in two dimensions, even where both lie in the patient.

    Raises:
        FrameNotSupported: An image has no spacing in which lengths in the patient may be given, or `in_plane` is asked
            of volumes.
    """
    fixed, moving, pixels = transform.fixed_grid, transform.moving_grid, transform.warp
    if in_plane or is_planar(fixed, moving):
        to_fixed, to_moving = fixed.plane_mm, moving.plane_mm
    else:
        to_fixed, to_moving = fixed.patient_mm, moving.patient_mm
    spacing = np.linalg.norm(to_fixed[:-1, : pixels.dimension], axis=0)
    if pixels.field is not None and not pixels.field.is_box(spacing):
        # A grid that lies askew to the pixels: what it says is kept at every pixel.
        pixels = Warp.through(pixels.matrix, pixels.apply(grid_points(fixed.size)), fixed.size)
    if len(to_fixed) > len(pixels.matrix):
        pixels = _thick(pixels, fixed.reach_mm)
    return pixels.between(to_fixed, to_moving)


def world_grid(image: ImageGrid, dimension: int) -> tuple[tuple[int, ...], Float]:
    """Returns an image's pixels as a grid in mm: its shape, and its indices (x, y[, z]) to mm.

    Args:
        image: Of an image of which three dimensions are asked, the grid has two layers within the slice.
        dimension: 2 for points in the plane, 3 for LPS points.

    Raises:
        FrameNotSupported: The image has no place in mm.
    """
    if dimension == 2:
        return image.size, image.plane_mm
    if len(image.size) == 3:
        return image.size, image.patient_mm
    return (_LAYERS, *image.size), image.patient_mm @ _layered(np.eye(3), image.reach_mm)


def from_world(world: Warp, fixed: ImageGrid, moving: ImageGrid, *, flags: tuple[str, ...] = ()) -> Transform:
    """Returns the transform between two images or volumes that a map in mm makes of their pixels.

    Exact between volumes, and in two dimensions. Of two slices and a map of LPS points, exact at the fixed pixels.

    Args:
        world: Of LPS points, or of points in the plane where it has two dimensions.
        fixed: The fixed image.
        moving: The moving image.
        flags: Names of quality flags.

    Raises:
        FrameNotSupported: An image has no place that the map could be applied to, one is a volume and the other is not,
            or the map takes the fixed slice out of the moving slice's plane.
        InvalidField: The map's matrix cannot be inverted, or its numbers are beyond all images.
    """
    if len(fixed.size) != len(moving.size):
        raise FrameNotSupported("one is a volume and the other a slice: name two volumes, or two slices")
    if world.dimension == 2:
        pixels = world.between(inverted(fixed.plane_mm), inverted(moving.plane_mm))
    else:
        pixels = world.between(inverted(fixed.patient_mm), inverted(moving.patient_mm))
        if len(fixed.size) == 2:
            pixels = _within_plane(pixels, fixed, moving)
    try:
        return Transform.from_warp(pixels, fixed, moving, flags=flags)
    except ValueError as error:
        raise InvalidField(f"no transform of these images: {error}", field="transform") from error


def _thick(planar: Warp, reach_mm: float) -> Warp:
    """A map of pixels as one of (x, y, mm along the normal), whose field reaches this far to either side."""
    matrix = _spatial(planar.matrix)
    if planar.field is None:
        return Warp(matrix)
    flat = np.repeat(planar.field.values[:, None], _LAYERS, axis=1)
    values = np.concatenate([flat, np.zeros_like(flat[:1])])
    return Warp(matrix, DisplacementField(values, _layered(planar.field.grid, reach_mm)))


def _spatial(planar: Float) -> Float:
    """A matrix of (x, y) as one of (x, y, z) that leaves z alone."""
    deep = np.eye(4)
    deep[np.ix_([0, 1, 3], [0, 1, 3])] = planar
    return deep


def _layered(planar: Float, reach_mm: float) -> Float:
    """The matrix of a grid whose layers, half a step beyond them included, fill a slice."""
    deep = _spatial(planar)
    deep[2, 2] = 2 * reach_mm / _LAYERS
    deep[2, 3] = deep[2, 2] / 2 - reach_mm
    return deep


def _within_plane(deep: Warp, fixed: ImageGrid, moving: ImageGrid) -> Warp:
    """A map of (x, y, mm along the normal) as one of the fixed slice's pixels alone."""
    pixels = grid_points(fixed.size)
    moved = deep.apply(np.pad(pixels, ((0, 0), (0, 1))))
    furthest = float(np.abs(moved[:, 2]).max())
    if furthest > moving.reach_mm + 1e-6:
        raise FrameNotSupported(
            f"it takes the fixed slice {furthest:.3g} mm out of the moving slice's plane, which a planar transform "
            "cannot hold: name the volumes instead"
        )
    matrix = deep.matrix[np.ix_([0, 1, 3], [0, 1, 3])]
    if abs(np.linalg.det(matrix)) < 1e-9:
        raise InvalidField("no transform of these images: pixel_matrix must be invertible", field="transform")
    return Warp(matrix) if deep.field is None else Warp.through(matrix, moved[:, :2], fixed.size)
