"""Uniform cubic B-splines over [-1, 1], the functions that displacements are sums of.

`intervals` equal pieces carry `intervals` + 3 splines along an axis, one for each control point; the first and the last
lie one piece outside. All numbers are float64, all lengths and derivatives in working units (see alignment.py).

Unser, "Splines: a perfect fit for signal and image processing", 1999.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

ORDER = 3
# Coefficients of the four pieces of a cubic B-spline, rising powers of the place in the interval, each over 6.
_PIECES = ((1.0, -3.0, 3.0, -1.0), (4.0, 0.0, -6.0, 3.0), (1.0, 3.0, 3.0, -3.0), (0.0, 0.0, 0.0, 1.0))
_QUADRATURE_POINTS = 4


def spline_basis(positions: Tensor, intervals: int, derivative: int = 0) -> Tensor:
    """What each spline contributes at each position.

    Args:
        positions: (n,), float64; beyond [-1, 1] those of the end count.
        intervals: pieces along the axis.
        derivative: 0, 1 or 2, by the position.

    Returns:
        (n, intervals + 3), four entries of a row not zero.
    """
    place = ((positions + 1.0) * (intervals / 2.0)).clamp(0.0, float(intervals))
    first = place.floor().clamp(max=intervals - 1)
    inside = place - first
    pieces = torch.tensor(_PIECES, dtype=torch.float64) / 6.0
    for _ in range(derivative):
        pieces = pieces[:, 1:] * torch.arange(1, pieces.shape[1], dtype=torch.float64) * (intervals / 2.0)
    powers = inside[:, None] ** torch.arange(pieces.shape[1], dtype=torch.float64)
    basis = torch.zeros(len(positions), intervals + ORDER, dtype=torch.float64)
    return basis.scatter_(1, first.long()[:, None] + torch.arange(ORDER + 1), powers @ pieces.T)


def pixel_centres(size: int) -> Tensor:
    """float64 (size,): the centres of a canvas's pixels along an axis."""
    return (2.0 * torch.arange(size, dtype=torch.float64) + 1.0) / size - 1.0


@lru_cache(maxsize=16)
def pixel_grid(size: int) -> Tensor:
    """float64 (2, size, size): x and y of the centres of a canvas's pixels; not to be written to."""
    y, x = torch.meshgrid(pixel_centres(size), pixel_centres(size), indexing="ij")
    return torch.stack([x, y])


@lru_cache(maxsize=64)
def canvas_basis(size: int, intervals: int, derivative: int = 0) -> Tensor:
    """`spline_basis` at the pixel centres of a canvas, (size, intervals + 3); not to be written to."""
    return spline_basis(pixel_centres(size), intervals, derivative)


@lru_cache(maxsize=16)
def mean_products(intervals: int) -> tuple[Tensor, Tensor, Tensor]:
    """Means over the axis of the products of each two splines: of their values, slopes and second derivatives.

    Exact, by Gauss-Legendre quadrature of each piece.

    Returns:
        Three matrices (m, m) with m = intervals + 3; not to be written to.
    """
    nodes, weights = np.polynomial.legendre.leggauss(_QUADRATURE_POINTS)
    half = 1.0 / intervals
    middles = -1.0 + half * (2.0 * np.arange(intervals) + 1.0)
    positions = torch.from_numpy((middles[:, None] + half * nodes).ravel())
    # A mean over an axis of length 2.
    shares = torch.from_numpy(np.tile(weights * half / 2.0, intervals))
    values, slopes, curvatures = (
        basis.T @ (shares[:, None] * basis) for basis in (spline_basis(positions, intervals, d) for d in range(3))
    )
    return values, slopes, curvatures


@lru_cache(maxsize=16)
def bending_form(intervals: int) -> Tensor:
    """The matrix Q of the bending energy: c · Q c is the mean over the square of u_xx² + 2 u_xy² + u_yy².

    Returns:
        (m², m²) with m = intervals + 3, for control points c of one component, row by row along y; not to be written
        to.
    """
    values, slopes, curvatures = mean_products(intervals)
    return (
        torch.kron(curvatures, values) + 2.0 * torch.kron(slopes, slopes) + torch.kron(values, curvatures)
    ).contiguous()


def subdivided(control: Tensor) -> Tensor:
    """Control points of the very same function over twice as many intervals.

    Args:
        control: (..., m, m).

    Returns:
        (..., 2 m - 3, 2 m - 3).
    """
    matrix = subdivision(control.shape[-1]).to(control.dtype)
    return matrix @ control @ matrix.T


def subdivision(count: int) -> Tensor:
    """float64 (2 count - 3, count): control points along one axis to those over twice as many intervals."""
    matrix = torch.zeros(2 * count - ORDER, count, dtype=torch.float64)
    for fine in range(len(matrix)):
        coarse = fine // 2
        if fine % 2:
            matrix[fine, coarse : coarse + 3] = torch.tensor([0.125, 0.75, 0.125], dtype=torch.float64)
        else:
            matrix[fine, coarse : coarse + 2] = 0.5
    return matrix
