"""What a transform does to points, in one unit: a displacement field, then an affine map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hilum.displacement_field import DisplacementField, grid_points
from hilum.errors import InvalidField
from hilum.geometry import Float


@dataclass(frozen=True, eq=False)
class Warp:
    """The map p -> matrix (p + u(p)) of points (x, y) or (x, y, z) of fixed space to moving space.

    The order is ITK's, where a composite of an affine transform and a displacement field applies the field first, and
    that of DICOM's Deformable Spatial Registration with a matrix after the deformation.

    Attributes:
        matrix: Homogeneous, (3, 3) or (4, 4).
        field: u, displacements in fixed space; None where the map is affine.
    """

    matrix: Float
    field: DisplacementField | None = None

    @classmethod
    def through(cls, matrix: Float, moved: Float, shape: tuple[int, ...], grid: Float | None = None) -> Warp:
        """Returns the map that takes the points of a grid to given places, and has this matrix.

        Args:
            matrix: The affine part; elsewhere than near the grid it alone counts.
            moved: (n, d), where the grid's points go, in the order of `grid_points(shape)`.
            shape: Points of the grid, ([depth,] height, width).
            grid: As in `DisplacementField`.
        """
        start = grid_points(shape) if grid is None else affine(grid, grid_points(shape))
        displacements = affine(inverted(matrix), moved) - start
        return cls(matrix, DisplacementField(displacements.T.reshape(-1, *shape), grid))

    @property
    def dimension(self) -> int:
        """2 or 3."""
        return len(self.matrix) - 1

    def apply(self, points: ArrayLike, *, inverse: bool = False) -> Float:
        """Returns where points (n, d) go, or with `inverse` where they come from.

        The inverse is that of the map, not an approximation of it: points within the grid come back to where they were,
        unless the field folds. Points that no point within the grid goes to come from outside of it.

        Raises:
            InvalidField: Points have another number of coordinates, or cannot be taken back as the field folds there.
        """
        given = np.atleast_2d(np.asarray(points, dtype=np.float64))
        if given.ndim != 2 or given.shape[1] != self.dimension:
            raise InvalidField(f"must have {self.dimension} coordinates each", field="points")
        if not inverse:
            return affine(self.matrix, given if self.field is None else given + self.field.at(given))
        displaced = affine(inverted(self.matrix), given)
        if self.field is None:
            return displaced
        found = self.field.require_origins(displaced)
        untouched = ~self.field.covers(found) & ~self.field.covers(displaced)
        found[untouched] = displaced[untouched]
        return found

    def between(self, fixed: Float, moving: Float) -> Warp:
        """Returns the same map in other coordinates, which homogeneous matrices make from these on either side."""
        matrix = moving @ self.matrix @ inverted(fixed)
        return Warp(matrix, None if self.field is None else self.field.mapped(fixed))

    def then(self, following: Warp, shape: tuple[int, ...], grid: Float | None = None) -> Warp:
        """Returns this map followed by another.

        Exact, but for two maps that both have a field: then the result is exact at the points of a grid, which shape
        and grid describe as in `through`, and linear between them.
        """
        matrix = following.matrix @ self.matrix
        if following.field is None:
            return Warp(matrix, self.field)
        if self.field is None:
            return Warp(matrix, following.field.mapped(inverted(self.matrix)))
        start = grid_points(shape) if grid is None else affine(grid, grid_points(shape))
        return Warp.through(matrix, following.apply(self.apply(start)), shape, grid)

    def inverse(self, shape: tuple[int, ...]) -> Warp:
        """Returns the map from moving space to fixed space, with its field on this grid of moving pixels."""
        back = inverted(self.matrix)
        if self.field is None:
            return Warp(back)
        return Warp.through(back, self.field.origins(affine(back, grid_points(shape))), shape)


def affine(matrix: Float, points: Float) -> Float:
    """Returns points (n, d) after a homogeneous matrix."""
    moved: Float = points @ matrix[:-1, :-1].T + matrix[:-1, -1]
    return moved


def inverted(matrix: Float) -> Float:
    """Returns the inverse of a homogeneous matrix, its last row exact."""
    back = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    back[-1] = np.eye(len(back))[-1]
    return back
