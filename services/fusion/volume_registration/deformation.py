"""A free-form deformation of the fixed canvas: a displacement that is a sum of cubic B-splines.

Rueckert et al., "Nonrigid registration using free-form deformations: application to breast MR images", 1999.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from services.fusion.registration.spline import ORDER, canvas_basis, mean_products, spline_basis, subdivision


@dataclass(frozen=True, eq=False)
class Deformation:
    """Takes a point x of the fixed canvas to x + u(x), before the matrix of an alignment.

    Attributes:
        control: float32 (3, m, m, m), the x, y and z components of u's control points in working units; the second
            index runs along z. Beyond the canvas u continues with the values of its edge.
    """

    control: Tensor

    @classmethod
    def none(cls, intervals: int) -> Deformation:
        """No displacement, over this many intervals."""
        return cls(torch.zeros(3, *(intervals + ORDER,) * 3))

    @property
    def intervals(self) -> int:
        """Intervals of the spline along each axis."""
        return int(self.control.shape[-1]) - ORDER

    @property
    def bending_energy(self) -> float:
        """Mean over the canvas of the squared second derivatives of all components, in working units."""
        return float((self.control * bent(self.control)).sum())

    def refined(self, intervals: int) -> Deformation:
        """The very same deformation with more control points, in steps of twice as many.

        Raises:
            ValueError: the number of intervals is not this one's, doubled some times.
        """
        control = self.control
        while control.shape[-1] - ORDER < intervals:
            along = subdivision(control.shape[-1]).to(control.dtype)
            control = separable(control, (along, along, along))
        if control.shape[-1] - ORDER != intervals:
            raise ValueError(f"{self.intervals} intervals cannot be doubled to {intervals}")
        return Deformation(control)

    def on_canvas(self, size: int) -> Tensor:
        """Displacements (3, size, size, size) at the voxels of a canvas, float32."""
        basis = canvas_basis(size, self.intervals).float()
        return separable(self.control, (basis, basis, basis))

    def on_grid(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        """Displacements (3, len(z), len(y), len(x)), float32, where planes x, y and z (float64) cross."""
        bases = [spline_basis(along, self.intervals).float() for along in (z, y, x)]
        return separable(self.control, bases)

    def at(self, points: Tensor) -> Tensor:
        """Displacements (n, 3) of points (n, 3), float64."""
        x, y, z = (spline_basis(points[:, axis], self.intervals) for axis in range(3))
        return torch.einsum("nk,nj,ni,ckji->nc", z, y, x, self.control.double())


def separable(values: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """(..., a, b, c) times matrices (A, a), (B, b), (C, c), one along each of the last axes: (..., A, B, C)."""
    along_z, along_y, along_x = matrices
    values = values @ along_x.T
    values = along_y @ values
    depth = values.shape[-3]
    flat = along_z @ values.reshape(*values.shape[:-3], depth, -1)
    return flat.reshape(*values.shape[:-3], len(along_z), *values.shape[-2:])


def bent(control: Tensor) -> Tensor:
    """Q c for control points c (3, m, m, m), where c · Q c is the bending energy.

    The bending energy is the mean over the canvas of u_xx² + u_yy² + u_zz² + 2 u_xy² + 2 u_xz² + 2 u_yz².
    """
    values, slopes, curvatures = (part.float() for part in mean_products(control.shape[-1] - ORDER))
    result = torch.zeros_like(control)
    for axis in range(3):
        pure, mixed = [values] * 3, [slopes] * 3
        pure[axis], mixed[axis] = curvatures, values
        result += separable(control, pure) + 2.0 * separable(control, mixed)
    return result


def determinants(jacobian: Tensor) -> Tensor:
    """Determinants (...) of matrices (3, 3, ...)."""
    first, second, third = jacobian
    found: Tensor = (first * torch.linalg.cross(second, third, dim=0)).sum(dim=0)
    return found
