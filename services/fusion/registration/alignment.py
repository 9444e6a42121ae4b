"""A planar alignment in the working space that both images of a registration share.

Working space: x and y in [-1, 1] across a square canvas, whatever its resolution, origin in the centre, pixel
edges at -1 and 1. An alignment in it therefore holds at every level of the registration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from services.fusion.registration.deformation import Deformation
from services.fusion.registration.spline import pixel_centres, pixel_grid

Aligned = TypeVar("Aligned")


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where each point of the fixed canvas lies on the moving one: x goes to matrix (x + u(x)).

    Attributes:
        matrix: float64 (3, 3), fixed_to_moving in working space; the last row is (0, 0, 1).
        deformation: u, or None where the alignment is affine.
    """

    matrix: Tensor
    deformation: Deformation | None = None

    @classmethod
    def identity(cls) -> Alignment:
        """Canvas centres on each other, equal scale."""
        return cls(torch.eye(3, dtype=torch.float64))

    def sampling_grid(self, size: int) -> Tensor:
        """float32 (size, size, 2): where on the moving canvas each pixel of a fixed canvas lies."""
        if self.deformation is None:
            return affine_grid(self.matrix, size)
        return through(self.matrix, self.displaced(size))

    def displaced(self, size: int) -> Tensor:
        """float64 (2, size, size): x + u(x) for each pixel of a fixed canvas."""
        place = pixel_grid(size)
        return place if self.deformation is None else place + self.deformation.on_canvas(size)

    def apply(self, points: Tensor) -> Tensor:
        """Moving points (n, 2) of fixed points (n, 2), both float64 in working space."""
        displaced = points if self.deformation is None else points + self.deformation.at(points)
        return displaced @ self.matrix[:2, :2].T + self.matrix[:2, 2]


@dataclass(frozen=True, eq=False)
class Candidate(Generic[Aligned]):
    """An alignment and how similar the images were found under it; higher is better."""

    alignment: Aligned
    similarity: float


def through(matrix: Tensor, points: Tensor) -> Tensor:
    """Points (2, height, width) through a matrix (3, 3), as a sampling grid, float32 (height, width, 2)."""
    return _mapped(matrix, *points.float())


def affine_grid(matrix: Tensor, size: int) -> Tensor:
    """float32 (size, size, 2): where a matrix (3, 3) takes each pixel of a canvas."""
    along = pixel_centres(size).float()
    return _mapped(matrix, along, along[:, None])


def _mapped(matrix: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Points through a matrix, as a sampling grid; x and y may be those of columns (width,) and rows (height, 1)."""
    (a, b, c), (d, e, f) = matrix[:2].tolist()
    grid = x.new_empty(2, y.shape[0], x.shape[-1])
    torch.add(a * x, b * y, out=grid[0]).add_(c)
    torch.add(d * x, e * y, out=grid[1]).add_(f)
    return grid.permute(1, 2, 0)


def warp(channels: Tensor, grid: Tensor, padding: str = "border") -> Tensor:
    """Sample a canvas where a grid says, linearly.

    Args:
        channels: (channels, n, n).
        grid: (height, width, 2), (x, y) in working space.
        padding: outside the canvas, "border" repeats its edge, "zeros" is zero.

    Returns:
        (channels, height, width).
    """
    return F.grid_sample(channels[None], grid[None], padding_mode=padding, align_corners=False)[0]
