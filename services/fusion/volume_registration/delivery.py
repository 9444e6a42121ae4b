"""What a registration of volumes delivers: the map between the volumes' own voxels, its inverse, whether it folds."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hilum.displacement_field import DisplacementField
from hilum.geometry import Float
from hilum.warp import inverted
from services.fusion.volume_registration.alignment import Alignment
from services.fusion.volume_registration.deformation import determinants
from services.fusion.volume_registration.workspace import Workspace

_LARGEST_SIDE = 64
_INVERSE_STEPS = 30
_INVERSE_ENOUGH = 1e-3


@dataclass(frozen=True, eq=False)
class DeliveredField:
    """The deformable part of a map between voxels: p goes to fixed_to_moving (p + u(p)).

    Fields are given at 64 points at most along each axis: the splines that u is made of are far wider than that, and
    both fields of a pair then take 6 MB.

    Attributes:
        displacements: u over the fixed volume, in fixed voxels.
        inverse: v over the moving volume, in moving voxels: q comes from inv(fixed_to_moving) (q + v).
        inverse_residual_mm: the largest distance between a point of the inverse's grid that comes from within the fixed
            volume and where the map takes its origin.
        folding_fraction: share of the cells of the displacements' grid that have a corner at which the map folds.
        jacobian_range: least and largest Jacobian determinant of p + u(p), over all cells' corners.
        bending_energy: mean of the squared second derivatives of u, in lengths of which the canvas's side has 2.
    """

    displacements: DisplacementField
    inverse: DisplacementField
    inverse_residual_mm: float
    folding_fraction: float
    jacobian_range: tuple[float, float]
    bending_energy: float


@dataclass(frozen=True)
class VoxelGrid:
    """Points of a volume, evenly spread from half a step within its edge to the other.

    Attributes:
        size: (depth, height, width) of the volume in voxels.
        counts: points along each of the axes.
    """

    size: tuple[int, int, int]
    counts: tuple[int, int, int]

    @classmethod
    def over(cls, size: tuple[int, int, int]) -> VoxelGrid:
        """The finest grid of at most 64 points along each axis, and never finer than the voxels."""
        depth, height, width = (min(count, _LARGEST_SIDE) for count in size)
        return cls(size, (depth, height, width))

    @property
    def steps(self) -> Tensor:
        """float64 (3,): voxels between points, along x, y and slice."""
        return torch.tensor(self.size[::-1], dtype=torch.float64) / torch.tensor(self.counts[::-1])

    @property
    def matrix(self) -> Float:
        """(4, 4): indices (x, y, slice, 1) of the grid to voxels."""
        matrix = np.diag([*self.steps.tolist(), 1.0])
        matrix[:3, 3] = (self.steps.numpy() - 1) / 2
        return matrix

    @property
    def along(self) -> tuple[Tensor, Tensor, Tensor]:
        """x, y and slice of the points in voxels, float64."""
        x, y, z = (
            torch.arange(count, dtype=torch.float64) * step + (step - 1) / 2
            for count, step in zip(self.counts[::-1], self.steps, strict=True)
        )
        return x, y, z

    @property
    def points(self) -> Tensor:
        """float32 (3, d, h, w): x, y and slice of the points in voxels."""
        x, y, z = self.along
        z, y, x = torch.meshgrid(z, y, x, indexing="ij")
        return torch.stack([x, y, z]).float()

    def sampled(self, values: Tensor, points: Tensor) -> Tensor:
        """Values (3, d, h, w) on the grid at points (3, ...) in voxels, linear, continued beyond the edge."""
        whole = torch.tensor(self.size[::-1], dtype=points.dtype)[:, None, None, None]
        place = ((2.0 * points + 1.0) / whole - 1.0).permute(1, 2, 3, 0)
        return F.grid_sample(values[None], place[None], padding_mode="border", align_corners=False)[0]

    def within(self, points: Tensor) -> Tensor:
        """bool: which points (3, ...) lie between the outermost points of the grid."""
        inside = torch.ones(points.shape[1:], dtype=torch.bool)
        for place, along in zip(points, self.along, strict=True):
            inside &= (place >= along[0]) & (place <= along[-1])
        return inside


def deliver(
    workspace: Workspace,
    alignment: Alignment,
    fixed_size: tuple[int, int, int],
    moving_size: tuple[int, int, int],
    moving_spacing_mm: tuple[float, float, float],
) -> Generator[None, None, DeliveredField | None]:
    """Put an alignment's deformation onto the volumes' voxels; None where there is none. Yields between steps."""
    if alignment.deformation is None:
        return None
    grid, inverse_grid = VoxelGrid.over(fixed_size), VoxelGrid.over(moving_size)
    displacements = workspace.displacements_px(alignment, *grid.along)
    yield
    jacobians = corner_determinants(grid.points + displacements, grid.steps)
    folding = float((jacobians <= 0).any(dim=0).double().mean())
    yield
    matrix = workspace.fixed_to_moving_px(alignment)
    inverse, residual_px = yield from _inverted(displacements, grid, inverse_grid, matrix)
    residual = residual_px * torch.tensor(moving_spacing_mm)[:, None, None, None]
    return DeliveredField(
        DisplacementField(displacements.numpy(), grid.matrix),
        DisplacementField(inverse.numpy(), inverse_grid.matrix),
        float(residual.norm(dim=0).max()),
        folding,
        (float(jacobians.min()), float(jacobians.max())),
        alignment.deformation.bending_energy,
    )


def corner_determinants(positions: Tensor, steps: Tensor) -> Tensor:
    """(8, d - 1, h - 1, w - 1): the Jacobian determinant, at its corners, of a map that is trilinear in each cell.

    Args:
        positions: (3, d, h, w), where each grid point goes, (x, y, z).
        steps: (3,) of the grid along x, y and z.
    """
    sides = (slice(None, -1), slice(1, None))
    along = [positions.diff(dim=3 - axis) / float(steps[axis]) for axis in range(3)]
    found = []
    for z in sides:
        for y in sides:
            for x in sides:
                columns = (along[0][:, z, y], along[1][:, z, :, x], along[2][:, :, y, x])
                found.append(determinants(torch.stack(columns)))
    return torch.stack(found)


def _inverted(
    displacements: Tensor, grid: VoxelGrid, inverse_grid: VoxelGrid, matrix: Float
) -> Generator[None, None, tuple[Tensor, Tensor]]:
    """The inverse's displacements (3, d, h, w) on the moving grid, and what they miss, both in moving voxels.

    With q' = inv(matrix) q, the origin p of q solves p = q' - u(p): a fixed point, found by repetition. Where u falls
    steeply that swings; then half of each step is taken.
    """
    moving = inverse_grid.points
    wanted = _mapped(inverted(matrix), moving)
    found = wanted - grid.sampled(displacements, wanted)
    yield
    for step in range(_INVERSE_STEPS):
        missing = wanted - found - grid.sampled(displacements, found)
        yield
        if float(missing.abs().max()) < _INVERSE_ENOUGH:
            break
        found = found + missing * (1.0 if step < _INVERSE_STEPS // 2 else 0.5)
    missed = _mapped(matrix, found + grid.sampled(displacements, found)) - moving
    return _mapped(matrix, found) - moving, missed * grid.within(found)


def _mapped(matrix: Float, points: Tensor) -> Tensor:
    """Points (3, ...) through an affine matrix (4, 4)."""
    linear, shift = torch.from_numpy(matrix[:3, :3]).float(), torch.from_numpy(matrix[:3, 3]).float()
    return torch.einsum("ij,j...->i...", linear, points) + shift[:, None, None, None]
