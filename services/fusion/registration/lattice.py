"""A grid of control points seen on a canvas: from pixels to control points and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from services.fusion.registration.spline import ORDER, bending_form, canvas_basis


class Lattice:
    """Cubic B-splines sampled at the pixels of a canvas, float32.

    Splines of two control points overlap only where these are at most three apart, and the splines are products of one
    along x and one along y. So sums over all pixels of products of two splines are two small matrix products.

    Args:
        size: side of the canvas in pixels.
        intervals: of the splines along each axis.

    Attributes:
        count: control points along each axis, m.
        bending: (m², m²), see `bending_form`.
    """

    def __init__(self, size: int, intervals: int) -> None:
        self.count = intervals + ORDER
        self.bending = bending_form(intervals).float()
        self._values = canvas_basis(size, intervals).float()
        self._slopes = canvas_basis(size, intervals, 1).float()
        first = torch.arange(self.count)
        neighbours = torch.combinations(first, 2, with_replacement=True)
        neighbours = neighbours[neighbours[:, 1] - neighbours[:, 0] <= ORDER]
        self._value_pairs = self._values[:, neighbours[:, 0]] * self._values[:, neighbours[:, 1]]
        self._slope_pairs = self._slopes[:, neighbours[:, 0]] * self._slopes[:, neighbours[:, 1]]
        # Where the sum for two control points stands among those of all pairs; the last place is for no overlap.
        place = torch.full((self.count, self.count), len(neighbours))
        place[neighbours[:, 0], neighbours[:, 1]] = place[neighbours[:, 1], neighbours[:, 0]] = torch.arange(
            len(neighbours)
        )
        along = len(neighbours) + 1
        self._places = (place[:, None, :, None] * along + place[None, :, None, :]).flatten(2).flatten(0, 1)

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

    def products(self, pixels: Tensor) -> Tensor:
        """(m², m²): for each two control points the sum over pixels (n, n) times both splines."""
        return self._spread(self._value_pairs.T @ pixels @ self._value_pairs)

    def slope_products(self, pixels: Tensor) -> Tensor:
        """(m², m²): the same with the inner products of the splines' gradients."""
        return self._spread(
            self._value_pairs.T @ pixels @ self._slope_pairs + self._slope_pairs.T @ pixels @ self._value_pairs
        )

    def _spread(self, sums: Tensor) -> Tensor:
        return F.pad(sums, (0, 1, 0, 1)).flatten().take(self._places)
