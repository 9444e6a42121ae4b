"""What a registration delivers: the map between the images' own pixels, its inverse, and whether it folds."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hilum.displacement_field import DisplacementField
from services.fusion.registration.alignment import Alignment, warp
from services.fusion.registration.deformation import corner_determinants
from services.fusion.registration.workspace import Workspace

_LARGEST_SIDE = 1024
_INVERSE_STEPS = 30
_INVERSE_ENOUGH_PX = 1e-3


@dataclass(frozen=True, eq=False)
class DeliveredField:
    """The deformable part of a map between pixels: p goes to fixed_to_moving (p + u(p)).

    Attributes:
        displacements: u on the fixed image's pixels, in fixed pixels; on every second, third ... pixel where the image
            is longer than 1024 pixels, for the splines that u is made of are far wider than that.
        inverse: v on the moving image's pixels, likewise, in moving pixels: q comes from inv(fixed_to_moving) (q + v).
        inverse_residual_px: the largest distance, in moving pixels, between a point of the inverse's grid that comes
            from within the fixed image and where the map takes its origin.
        folding_fraction: share of the cells of the displacements' grid that have a place where the map folds.
        jacobian_range: least and largest Jacobian determinant of p + u(p), over all cells' corners.
        bending_energy: mean of the squared second derivatives of u, in lengths of which the longer side has 2.
    """

    displacements: DisplacementField
    inverse: DisplacementField
    inverse_residual_px: float
    folding_fraction: float
    jacobian_range: tuple[float, float]
    bending_energy: float


@dataclass(frozen=True)
class PixelGrid:
    """Points of an image, `step` pixels apart, the outermost half a step within its edge.

    Attributes:
        size: (height, width) of the image in pixels.
        step: pixels between points.
    """

    size: tuple[int, int]
    step: int

    @classmethod
    def over(cls, size: tuple[int, int]) -> PixelGrid:
        """The finest grid of at most 1024 points along the longer side."""
        return cls(size, -(-max(size) // _LARGEST_SIDE))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 3): indices (x, y, 1) of the grid to pixels."""
        offset = (self.step - 1) / 2
        return np.array([[self.step, 0.0, offset], [0.0, self.step, offset], [0.0, 0.0, 1.0]])

    @property
    def rows(self) -> Tensor:
        """float64 (h,): y of the points in pixels."""
        return self._along(self.size[0])

    @property
    def columns(self) -> Tensor:
        """float64 (w,): x of the points in pixels."""
        return self._along(self.size[1])

    @property
    def points(self) -> Tensor:
        """float32 (2, h, w): x and y of the points in pixels."""
        y, x = torch.meshgrid(self.rows, self.columns, indexing="ij")
        return torch.stack([x, y]).float()

    def sampled(self, values: Tensor, points: Tensor) -> Tensor:
        """Values (2, h, w) on the grid at points (2, ...) in pixels, linear, continued beyond the edge."""
        count = torch.tensor([values.shape[2], values.shape[1]], dtype=points.dtype)[:, None, None]
        index = (points - (self.step - 1) / 2) / self.step
        return warp(values, ((2.0 * index + 1.0) / count - 1.0).permute(1, 2, 0))

    def within(self, points: Tensor) -> Tensor:
        """bool: which points (2, ...) lie between the outermost points of the grid."""
        x, y = points
        columns, rows = self.columns, self.rows
        within: Tensor = (x >= columns[0]) & (x <= columns[-1]) & (y >= rows[0]) & (y <= rows[-1])
        return within

    def _along(self, count: int) -> Tensor:
        points = torch.arange(-(-count // self.step), dtype=torch.float64)
        return points * self.step + (self.step - 1) / 2


def deliver(
    workspace: Workspace, alignment: Alignment, fixed_size: tuple[int, int], moving_size: tuple[int, int]
) -> Generator[None, None, DeliveredField | None]:
    """Put an alignment's deformation onto the images' pixels; None where there is none. Yields between steps.

    Args:
        workspace: of the two images.
        alignment: what was found.
        fixed_size: (height, width).
        moving_size: (height, width).
    """
    if alignment.deformation is None:
        return None
    grid, inverse_grid = PixelGrid.over(fixed_size), PixelGrid.over(moving_size)
    displacements = torch.from_numpy(workspace.displacements_px(alignment, grid.columns, grid.rows)).float()
    yield
    determinants = corner_determinants((grid.points + displacements) / grid.step)
    yield
    folding = float((determinants <= 0).any(dim=0).double().mean())
    jacobian_range = float(determinants.min()), float(determinants.max())
    yield
    matrix = workspace.fixed_to_moving_px(alignment)
    inverse, residual = yield from _inverted(displacements, grid, inverse_grid, matrix)
    return DeliveredField(
        DisplacementField(displacements.numpy(), grid.matrix),
        DisplacementField(inverse.numpy(), inverse_grid.matrix),
        residual,
        folding,
        jacobian_range,
        alignment.deformation.bending_energy,
    )


def _inverted(
    displacements: Tensor, grid: PixelGrid, inverse_grid: PixelGrid, matrix: NDArray[np.float64]
) -> Generator[None, None, tuple[Tensor, float]]:
    """The inverse's displacements (2, h, w) on the moving grid, and its residual in moving pixels.

    With q' = inv(matrix) q, the origin p of q solves p = q' - u(p): a fixed point, found by repetition. Where u falls
    steeply that swings; then half of each step is taken.
    """
    moving = inverse_grid.points
    wanted = _mapped(np.linalg.inv(matrix), moving)
    yield
    found = wanted - grid.sampled(displacements, wanted)
    yield
    for step in range(_INVERSE_STEPS):
        missing = wanted - found - grid.sampled(displacements, found)
        yield
        if float(missing.abs().max()) < _INVERSE_ENOUGH_PX:
            break
        found = found + missing * (1.0 if step < _INVERSE_STEPS // 2 else 0.5)
    inverse = _mapped(matrix, found) - moving
    yield
    missed = _mapped(matrix, found + grid.sampled(displacements, found)) - moving
    yield
    # Several times as fast as a norm over the first axis.
    return inverse, float((torch.hypot(*missed) * grid.within(found)).max())


def _mapped(matrix: NDArray[np.floating], points: Tensor) -> Tensor:
    """Points (2, ...) through an affine matrix (3, 3)."""
    (a, b, c), (d, e, f) = matrix[:2].tolist()
    x, y = points
    return torch.stack([a * x + b * y + c, d * x + e * y + f])
