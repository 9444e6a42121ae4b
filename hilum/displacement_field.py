"""Displacements on a regular grid, between whose points they are interpolated linearly.

A displacement field says for every point of a space by how much it moves. Points are (x, y) or (x, y, z), in whatever
unit the space has: pixels inside a `hilum.Transform`, millimetres in the files of other programs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hilum.errors import InvalidField
from hilum.geometry import Float

Displacements: TypeAlias = NDArray[np.float32]

# Beyond it no image lies, and products of coordinates overflow.
_LARGEST_NUMBER = 1e9
_PERPENDICULAR = 1e-5
_MAX_STEPS = 40
# From here on steps are halved: a search that jumps to and fro between two cells of the grid settles.
_PATIENT_STEPS = 10
# Of a step of the grid, when a point counts as found, and when the search for it has failed.
_FOUND, _LOST = 1e-9, 1e-2
# A cell that is squeezed more than this gives no direction to search in.
_LEAST_VOLUME = 0.05


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Displacements u(p) of points p, known at the points of a grid and multilinear between them.

    Up to half a grid step beyond its outermost points the field continues with their values; further out there is no
    displacement. This is what ITK's DisplacementFieldTransform does.

    Attributes:
        values: float32 (2, height, width) or (3, depth, height, width); component 0 is the displacement along x. Kept
            as a copy that cannot be written to.
        grid: Homogeneous matrix, (3, 3) or (4, 4): grid index (x, y[, z]) to the place of that grid point. The
            identity where not given: the grid points are the pixels.

    Raises:
        ValueError: Shapes disagree, or numbers are not finite or beyond +-1e9, or the grid is degenerate.
    """

    values: Displacements
    grid: Float

    def __init__(self, values: ArrayLike, grid: ArrayLike | None = None) -> None:
        given = np.asarray(values)
        dimension = given.ndim - 1
        if dimension not in (2, 3) or given.shape[0] != dimension or 0 in given.shape:
            raise ValueError("displacements must be (2, height, width) or (3, depth, height, width)")
        if not (np.abs(given) <= _LARGEST_NUMBER).all():
            raise ValueError(f"displacements must be finite and within +-{_LARGEST_NUMBER:g}")
        matrix = np.eye(dimension + 1) if grid is None else np.array(grid, np.float64)
        if matrix.shape != (dimension + 1, dimension + 1) or not (np.abs(matrix) <= _LARGEST_NUMBER).all():
            raise ValueError(f"the grid's matrix must hold {dimension + 1} x {dimension + 1} finite numbers")
        if not np.array_equal(matrix[-1], np.eye(dimension + 1)[-1]) or abs(np.linalg.det(matrix)) < 1e-12:
            raise ValueError("the grid's matrix must be affine and invertible")
        # Adding zero copies, and makes -0.0 the 0.0 that equals it: equal content has one id.
        stored = given.astype(np.float32) + np.float32(0)
        for array in (stored, matrix):
            array.flags.writeable = False
        object.__setattr__(self, "values", stored)
        object.__setattr__(self, "grid", matrix)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DisplacementField):
            return NotImplemented
        return np.array_equal(self.values, other.values) and np.array_equal(self.grid, other.grid)

    def __hash__(self) -> int:
        return hash((self.values.shape, self.grid.tobytes()))

    @property
    def shape(self) -> tuple[int, ...]:
        """Points of the grid, ([depth,] height, width)."""
        return self.values.shape[1:]

    def is_box(self, spacing: ArrayLike = 1.0) -> bool:
        """Whether the grid's axes are perpendicular, as files need it, where units along (x, y[, z]) are this long."""
        axes = np.reshape(spacing, (-1, 1)) * self.grid[:-1, :-1]
        cosines = axes / np.linalg.norm(axes, axis=0)
        return bool(np.abs(cosines.T @ cosines - np.eye(len(axes))).max() <= _PERPENDICULAR)

    def at(self, points: Float) -> Float:
        """Returns the displacements (n, d) of points (n, d)."""
        found = self._interpolated(self._index(points))
        found[~self.covers(points)] = 0
        return found

    def covers(self, points: Float) -> NDArray[np.bool_]:
        """Returns which points (n, d) lie within half a grid step of the grid, bool (n,)."""
        index = self._index(points)
        return np.asarray(((index >= -0.5) & (index < np.array(self.shape) - 0.5)).all(axis=1), np.bool_)

    def mapped(self, matrix: Float) -> DisplacementField:
        """Returns the same field in other coordinates, which a homogeneous matrix makes from these."""
        values = np.tensordot(matrix[:-1, :-1], self.values.astype(np.float64), axes=1)
        return DisplacementField(values, matrix @ self.grid)

    def origins(self, targets: Float) -> Float:
        """Returns the points p (n, d) that are displaced to the targets: p + u(p) = target.

        Where no point of the grid is, the field is continued by its outermost values instead, so that the answer lies
        outside the grid. Newton's method, cell by cell. Where the field folds there are several such points, of which
        any is returned, and the search may fail: then the answer does not solve the equation.
        """
        found = targets - self._interpolated(self._index(targets))
        searched = np.arange(len(targets))
        scale = float(np.abs(self.grid[:-1, :-1]).max())
        for step in range(_MAX_STEPS):
            index = self._index(found[searched])
            missing = targets[searched] - found[searched] - self._interpolated(index)
            unsolved = np.abs(missing).max(axis=1, initial=0) > _FOUND * scale
            searched, index, missing = searched[unsolved], index[unsolved], missing[unsolved]
            if not len(searched):
                break
            found[searched] += self._towards(missing, index) * (0.5 if step >= _PATIENT_STEPS else 1.0)
        return found

    def require_origins(self, targets: Float) -> Float:
        """Returns `origins`, and refuses targets for which the search failed.

        Raises:
            InvalidField: A target's origin was not found: the field folds there.
        """
        found = self.origins(targets)
        left = np.abs(targets - found - self._interpolated(self._index(found))).max(initial=0)
        if left > _LOST * np.abs(self.grid[:-1, :-1]).max():
            raise InvalidField("a point cannot be taken back: the displacement field folds there", field="points")
        return found

    def _towards(self, missing: Float, index: Float) -> Float:
        """The step by which Newton's method corrects what is missing; a plain step in a cell that folds."""
        slopes = np.eye(len(self.shape)) + self._slopes(index)
        solvable = np.linalg.det(slopes) > _LEAST_VOLUME
        steps = missing.copy()
        steps[solvable] = np.linalg.solve(slopes[solvable], missing[solvable][:, :, None])[:, :, 0]
        return steps

    def _index(self, points: Float) -> Float:
        """Array indices (n, d), in the order of the array's axes."""
        inverse = np.linalg.inv(self.grid)
        index: Float = (points @ inverse[:-1, :-1].T + inverse[:-1, -1])[:, ::-1]
        return index

    def _interpolated(self, index: Float) -> Float:
        """Displacements (n, d) at array indices, continued by the outermost values."""
        found = np.zeros((len(self.shape), len(index)))
        for weights, _, values in self._corners(index):
            found += math.prod(weights) * values
        return found.T

    def _slopes(self, index: Float) -> Float:
        """Derivatives (n, d, d) of the displacements by the point's coordinates; 0 where the field is continued."""
        by_index = np.zeros((len(self.shape), len(self.shape), len(index)))
        for weights, corner, values in self._corners(index):
            for axis, side in enumerate(corner):
                others = math.prod(weights[:axis] + weights[axis + 1 :])
                by_index[:, axis] += (others if side else -others) * values
        within = (index > 0) & (index < np.array(self.shape) - 1)
        slopes: Float = (by_index * within.T)[:, ::-1].transpose(2, 0, 1) @ np.linalg.inv(self.grid)[:-1, :-1]
        return slopes

    def _corners(self, index: Float) -> Iterator[tuple[list[Float], tuple[int, ...], Float]]:
        """Yields the corners of every index's cell: their weights along each axis, which corner, and values (d, n)."""
        last = np.array(self.shape) - 1
        nearest = np.clip(index, 0, last)
        lower = np.minimum(np.floor(nearest), np.maximum(last - 1, 0)).astype(np.intp)
        share = np.ascontiguousarray((nearest - lower).T)
        strides = np.array([math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape))])
        first, steps = lower @ strides, np.where(last > 0, strides, 0)
        values = self.values.reshape(len(self.shape), -1)
        for corner in itertools.product((0, 1), repeat=len(self.shape)):
            weights = [part if side else 1 - part for part, side in zip(share, corner, strict=True)]
            yield weights, corner, values.take(first + steps @ corner, axis=1).astype(np.float64)


def grid_points(shape: tuple[int, ...]) -> Float:
    """Returns the indices (n, d) of all points of a grid as (x, y[, z]), row-major over ([depth,] height, width)."""
    return np.stack([axis.ravel() for axis in np.indices(shape)][::-1], axis=1).astype(np.float64)
