"""SimpleITK as the tests use it: an independent reader and writer of transforms and images."""

from __future__ import annotations

from typing import Any

import numpy as np
import SimpleITK

from hilum.geometry import Float
from hilum.image_grid import ImageGrid

# It ships no types.
sitk: Any = SimpleITK


def itk_image(image: ImageGrid, dimension: int, pixels: Float | None = None) -> Any:
    """An image or volume as SimpleITK knows it, with origin, direction and spacing in mm; zeros without pixels."""
    matrix, shape = image.plane_mm if dimension == 2 else image.patient_mm, image.size
    if len(shape) < dimension:
        matrix, shape = matrix @ np.diag([1, 1, 2 * image.reach_mm, 1]), (1, *shape)
    made = sitk.GetImageFromArray(np.zeros(shape) if pixels is None else pixels.reshape(shape))
    place(made, matrix)
    return made


def place(image: Any, matrix: Float) -> None:
    """Gives an image of SimpleITK the origin, direction and spacing of a matrix, indices to mm."""
    spacing = np.linalg.norm(matrix[:-1, :-1], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(matrix[:-1, -1].tolist())
    image.SetDirection(np.ravel(matrix[:-1, :-1] / spacing).tolist())


def points_moved(transform: Any, points_mm: Float) -> Float:
    """Where a transform of SimpleITK takes points (n, d)."""
    return np.array([transform.TransformPoint(point) for point in points_mm.tolist()], np.float64)
