"""A grid of control points seen on a canvas: from pixels to control points and back."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, solveh_banded
from torch import Tensor

from services.fusion.registration.spline import ORDER, bending_form, canvas_basis, spline_basis

_DAMPING = 1e-4


class Lattice:
    """Cubic B-splines sampled at the pixels of a canvas, float32.

    Two control points' splines overlap only where these are at most three apart along either axis, and each spline is a
    product of one along x and one along y. So sums over all pixels of products of two splines come from two small
    matrix products, as (p, p): one row and one column for each pair of neighbours along y and along x. And a system of
    equations for all control points is banded, and is solved in the time that is linear in their number.

    Args:
        size: side of the canvas in pixels.
        intervals: of the splines along each axis.

    Attributes:
        count: control points along each axis, m.
        bending: (m², m²), see `bending_form`.
    """

    def __init__(self, size: int, intervals: int) -> None:
        self.intervals = intervals
        self.count = intervals + ORDER
        self.bending = bending_form(intervals).float()
        self._values = canvas_basis(size, intervals).float()
        self._slopes = canvas_basis(size, intervals, 1).float()
        pairs = torch.combinations(torch.arange(self.count), 2, with_replacement=True)
        self._pairs = pairs[pairs[:, 1] - pairs[:, 0] <= ORDER]
        self._value_pairs, self._slope_pairs = self._paired(self._values), self._paired(self._slopes)
        self._band = _Band(self.count, self._pairs)
        self._bending_band = self._band.of_blocks(bending_form(intervals).numpy())

    def gradient(self, control: Tensor) -> Tensor:
        """(2, 2, n, n): derivatives of components (x, y) along (x, y) of a spline with control points (2, m, m)."""
        along_x = self._values @ control @ self._slopes.T
        along_y = self._slopes @ control @ self._values.T
        return torch.stack([along_x, along_y], dim=1)

    def gathered(self, pixels: Tensor) -> Tensor:
        """(..., m, m): for each control point the sum over pixels (..., n, n) times its spline."""
        return self._values.T @ pixels @ self._values

    def gathered_slopes(self, along_x: Tensor, along_y: Tensor) -> Tensor:
        """(..., m, m): the sum over pixels of each spline's derivatives times these (..., n, n)."""
        return self._values.T @ along_x @ self._slopes + self._slopes.T @ along_y @ self._values

    def gathered_points(self, points: Tensor, vectors: Tensor) -> Tensor:
        """(2, m, m): the sum over points (k, 2) of each spline there times vectors (k, 2)."""
        x, y = (spline_basis(points[:, axis], self.intervals) for axis in (0, 1))
        return torch.einsum("ni,nj,nc->cij", y, x, vectors).float()

    def products(self, pixels: Tensor) -> Tensor:
        """(..., p, p): for each two control points the sum over pixels (..., n, n) times both splines."""
        sums: Tensor = self._value_pairs.T @ pixels @ self._value_pairs
        return sums

    def slope_products(self, pixels: Tensor) -> Tensor:
        """(p, p): the same with the inner products of the splines' gradients."""
        values, slopes = self._value_pairs, self._slope_pairs
        sums: Tensor = values.T @ pixels @ slopes + slopes.T @ pixels @ values
        return sums

    def point_products(self, points: Tensor, weights: Tensor) -> Tensor:
        """(p, p): the sum over points (k, 2) times weights (k,) times both splines there."""
        x, y = (self._paired(spline_basis(points[:, axis], self.intervals)) for axis in (0, 1))
        return (y.T @ (weights[:, None] * x)).float()

    def solved(self, products: Tensor, bending: float, force: Tensor) -> Tensor | None:
        """The step s of all control points with H s = force, slightly damped; None where there is none.

        Args:
            products: (3, p, p), the parts of H that go with x and x, x and y, y and y.
            bending: weight of the bending energy, which H holds, too.
            force: (2, m, m).

        Returns:
            (2, m, m), float64.
        """
        system = self._band.of_products(products) + bending * self._bending_band
        diagonal = system[-1]
        diagonal += _DAMPING * diagonal.mean() + 1e-12
        # Components of one control point stand side by side.
        wanted = force.double().permute(1, 2, 0).reshape(-1).numpy()
        try:
            step = solveh_banded(system, wanted, check_finite=False)
        except LinAlgError:
            return None
        return torch.from_numpy(step).reshape(self.count, self.count, 2).permute(2, 0, 1)

    def _paired(self, basis: Tensor) -> Tensor:
        return basis[:, self._pairs[:, 0]] * basis[:, self._pairs[:, 1]]


@lru_cache(maxsize=8)
def canvas_lattice(size: int, intervals: int) -> Lattice:
    """The lattice, which is the same for all images; made once."""
    return Lattice(size, intervals)


class _Band:
    """Where the elements of a banded symmetric matrix stand, in LAPACK's upper form.

    Unknown 2 (i m + j) + c is component c of the control point in row i and column j.
    """

    def __init__(self, count: int, pairs: Tensor) -> None:
        self._points, self._along = count**2, len(pairs) + 1
        width = 2 * (ORDER * count + ORDER) + 1
        column = np.arange(2 * self._points)[None, :]
        row = column - width + np.arange(width + 1)[:, None]
        self._inside = row >= 0
        row = np.where(self._inside, row, column)
        # Of a pair of neighbours, its place; the last place is for two that do not overlap.
        place = np.full((count, count), len(pairs))
        first, second = pairs.numpy().T
        place[first, second] = place[second, first] = np.arange(len(pairs))
        (row_point, row_part), (point, part) = np.divmod(row, 2), np.divmod(column, 2)
        rows, columns = (
            place[one, other] for one, other in zip(np.divmod(row_point, count), np.divmod(point, count), strict=True)
        )
        source = ((row_part + part) * self._along + rows) * self._along + columns
        self._source = torch.from_numpy(np.where(self._inside, source, 0))
        self._row_point, self._point, self._same = row_point, np.broadcast_to(point, row.shape), row_part == part

    def of_products(self, products: Tensor) -> NDArray[np.float64]:
        """The band of sums (3, p, p)."""
        band = F.pad(products, (0, 1, 0, 1)).take(self._source).double().numpy()
        return np.asarray(band * self._inside, np.float64)

    def of_blocks(self, block: NDArray[np.float64]) -> NDArray[np.float64]:
        """The band of a matrix that has the same block (m², m²) for either component."""
        return np.asarray(block[self._row_point, self._point] * (self._inside & self._same), np.float64)
