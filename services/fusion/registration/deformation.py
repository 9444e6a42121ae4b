"""A free-form deformation of the fixed canvas: a displacement that is a sum of cubic B-splines.

Rueckert et al., "Nonrigid registration using free-form deformations: application to breast MR images", 1999.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from services.fusion.registration.spline import ORDER, bending_form, canvas_basis, spline_basis, subdivided


@dataclass(frozen=True, eq=False)
class Deformation:
    """Takes a point x of the fixed canvas to x + u(x), before the matrix of an alignment.

    Attributes:
        control: float64 (2, m, m), the x and y components of u's control points in working units; the second index
            runs along y. Beyond the canvas u continues with the values of its edge.
    """

    control: Tensor

    @classmethod
    def none(cls, intervals: int) -> Deformation:
        """No displacement, over this many intervals."""
        return cls(torch.zeros(2, intervals + ORDER, intervals + ORDER, dtype=torch.float64))

    @property
    def intervals(self) -> int:
        """Intervals of the spline along each axis."""
        return int(self.control.shape[-1]) - ORDER

    @property
    def bending_energy(self) -> float:
        """Mean over the canvas of the squared second derivatives of both components, in working units."""
        flat = self.control.flatten(1)
        return float((flat @ bending_form(self.intervals) * flat).sum())

    @property
    def determinant_bound(self) -> float:
        """No Jacobian determinant of x + u(x) is less than this; -inf where little can be said.

        A slope of u is a weighted mean of the slopes between neighbouring control points: none is steeper than these.
        """
        per_unit = self.intervals / 2.0
        (xx, yx), (xy, yy) = ((self.control.diff(dim=dim).abs().amax((1, 2)) * per_unit).tolist() for dim in (2, 1))
        return (1.0 - xx) * (1.0 - yy) - xy * yx if max(xx, yy) < 1.0 else -math.inf

    def refined(self, intervals: int) -> Deformation:
        """The very same deformation with more control points, in steps of twice as many.

        Raises:
            ValueError: the number of intervals is not this one's, doubled some times.
        """
        control = self.control
        while control.shape[-1] - ORDER < intervals:
            control = subdivided(control)
        if control.shape[-1] - ORDER != intervals:
            raise ValueError(f"{self.intervals} intervals cannot be doubled to {intervals}")
        return Deformation(control)

    def on_canvas(self, size: int) -> Tensor:
        """Displacements (2, size, size) at the pixels of a canvas, float64."""
        basis = canvas_basis(size, self.intervals)
        return basis @ self.control @ basis.T

    def on_grid(self, x: Tensor, y: Tensor) -> Tensor:
        """Displacements (2, len(y), len(x)) at the crossings of columns x and rows y, float64."""
        return spline_basis(y, self.intervals) @ self.control @ spline_basis(x, self.intervals).T

    def at(self, points: Tensor) -> Tensor:
        """Displacements (n, 2) of points (n, 2), float64."""
        x, y = (spline_basis(points[:, axis], self.intervals) for axis in (0, 1))
        return torch.einsum("ni,cij,nj->nc", y, self.control, x)


def smallest_determinant(positions: Tensor) -> float:
    """The least Jacobian determinant of a map that is known at the points of a grid and bilinear between them.

    In a cell the determinant of a bilinear map is linear along both axes, so its least value lies at a corner: this is
    exact, and the map nowhere folds if the result is positive.

    Args:
        positions: (2, height, width), where each grid point goes, in steps of the grid.
    """
    return min(float(corner.min()) for corner in _corners(positions))


def corner_determinants(positions: Tensor) -> Tensor:
    """(4, height - 1, width - 1): the Jacobian determinant at the four corners of each cell; see above."""
    return torch.stack(list(_corners(positions)))


def _corners(positions: Tensor) -> Iterator[Tensor]:
    """The same, one corner of all cells after the other."""
    along_x, along_y = positions[:, :, 1:] - positions[:, :, :-1], positions[:, 1:] - positions[:, :-1]
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            yield along_x[0, rows] * along_y[1, :, columns] - along_x[1, rows] * along_y[0, :, columns]
